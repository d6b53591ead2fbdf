package statelog

import (
	"context"
	"strconv"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// Source is from where a process reads the log: a gateway the store itself, everybody
// else a gateway (package feed). Safe for concurrent use.
type Source interface {
	// StreamState tells how far a stream reaches. An error may be over when asked again.
	StreamState(ctx context.Context, stream string) (bus.StreamState, error)
	// ConsumeWith is bus.Conn's: in order, without gaps, until ctx ends.
	ConsumeWith(ctx context.Context, o bus.ConsumeOptions, h func(*bus.StreamMsg)) error
}

// durability is of a source that shows members of an atomic batch before they are known
// to be on disk; it tells up to where they are.
type durability interface {
	watermarks(stream string, h func(seq uint64)) (stop func(), err error)
}

// fromStore is the store as a source, for those in its account.
type fromStore struct{ *bus.Conn }

func (s fromStore) watermarks(stream string, h func(seq uint64)) (func(), error) {
	sub, err := s.Subscribe(proto.WatermarkSubject(stream), "", func(m *bus.Msg) {
		if seq, err := strconv.ParseUint(string(m.Data), 10, 64); err == nil {
			h(seq)
		}
	})
	if err != nil {
		return nil, err
	}
	return sub.Stop, nil
}
