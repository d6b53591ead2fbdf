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
	// Read hands over what is there and what comes, until ctx ends.
	Read(ctx context.Context, r Reading, h Handler) error
}

// Reading says what is to be read.
type Reading struct {
	Stream   string
	Subjects []string // none: all
	From     uint64   // the first sequence wanted
	// Goal is a sequence that Settled is to reach though nothing comes that is read; it
	// may then stay at what was read last.
	Goal uint64
}

// Handler takes what is read, one call at a time.
type Handler struct {
	// Message takes the next message: sequences rise. The log keeps the newest of each
	// subject only, so of what comes faster than it is read some is never handed over.
	Message func(m *bus.StreamMsg)
	// Settled says that nothing is missing up to a sequence: of each subject that has a
	// message up to there, that one or a newer one was handed over. To have read a
	// message says less: one before it may have been replaced by one that is still to
	// come. Sequences rise. It may be nil.
	Settled func(seq uint64)
	// Known gives up to where the handler knows by itself that nothing is missing, having
	// written it. It may be nil.
	Known func() uint64
}

func (h Handler) settled(seq uint64) {
	if h.Settled != nil {
		h.Settled(seq)
	}
}

func (h Handler) known() uint64 {
	if h.Known == nil {
		return 0
	}
	return h.Known()
}

// durability is of a source that shows members of an atomic batch before they are known
// to be on disk; it tells up to where they are.
type durability interface {
	watermarks(stream string, h func(seq uint64)) (stop func(), err error)
}

// fromStore is the store as a source, for those in its account.
type fromStore struct{ *bus.Conn }

// Read implements Source.
func (s fromStore) Read(ctx context.Context, r Reading, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	st := newSettler(s, r, h)
	done := make(chan struct{})
	go func() {
		defer close(done)
		st.run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	return s.ConsumeWith(ctx, bus.ConsumeOptions{
		Stream: r.Stream, Subjects: r.Subjects, From: max(r.From, 1),
		Started: func(pending uint64) { st.waiting(pending) },
	}, st.message)
}

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
