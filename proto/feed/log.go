package feed

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/tunnel"
)

// Log reads the log through gateways. Safe for concurrent use.
type Log struct {
	conn   *bus.Conn
	client string // proto.Role.Client of the connection
	log    *zap.Logger
	trims  bool
}

// NewLog reads as the client that conn's credential is.
func NewLog(conn *bus.Conn, client string, logger *zap.Logger) *Log {
	return &Log{conn: conn, client: client, log: logger}
}

// Trimmed reads objects without their managedFields.
func (l *Log) Trimmed() *Log {
	trimmed := *l
	trimmed.trims = true
	return &trimmed
}

// StreamState tells how far a stream reaches. While there is no gateway it waits a moment
// for one to begin.
func (l *Log) StreamState(ctx context.Context, stream string) (bus.StreamState, error) {
	greeted, stop, err := l.greeted()
	if err != nil {
		return bus.StreamState{}, err
	}
	defer stop()
	s, err := l.ask(ctx, stream)
	if !errors.Is(err, bus.ErrNoResponders) {
		return s, err
	}
	select {
	case <-ctx.Done():
		return s, err
	case <-greeted:
	case <-time.After(2 * time.Second):
	}
	return l.ask(ctx, stream)
}

// greeted tells of gateways that begin, until stop.
func (l *Log) greeted() (greeted <-chan struct{}, stop func(), err error) {
	c := make(chan struct{}, 1)
	hello, err := l.conn.Subscribe(proto.GatewayHelloSubject, "", func(*bus.Msg) {
		select {
		case c <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return c, hello.Stop, nil
}

func (l *Log) ask(ctx context.Context, stream string) (bus.StreamState, error) {
	data, err := json.Marshal(request{Stream: stream})
	if err != nil {
		return bus.StreamState{}, fmt.Errorf("stream %s: %w", stream, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer, err := l.conn.Request(ctx, proto.LogStateSubject(l.client), data)
	if err != nil {
		return bus.StreamState{}, fmt.Errorf("stream %s: %w", stream, err)
	}
	var s state
	if err := json.Unmarshal(answer, &s); err != nil {
		return bus.StreamState{}, fmt.Errorf("stream %s: %w", stream, err)
	}
	if s.Error != "" {
		return bus.StreamState{}, fmt.Errorf("stream %s: %s", stream, s.Error)
	}
	return s.StreamState, nil
}

// Read implements statelog.Source.
func (l *Log) Read(ctx context.Context, r statelog.Reading, h statelog.Handler) error {
	greeted, stop, err := l.greeted() // there is no need to wait any longer then
	if err != nil {
		return err
	}
	defer stop()
	settled := uint64(0)
	mine := statelog.Handler{
		Message: func(m *bus.StreamMsg) {
			if m.Seq < r.From {
				return
			}
			r.From = m.Seq + 1
			if l.trims {
				m.Data = withoutManagedFields(m.Data)
			}
			h.Message(m)
		},
		Settled: func(seq uint64) {
			if seq > settled && h.Settled != nil {
				settled = seq
				h.Settled(seq)
			}
		},
	}
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		began := time.Now()
		err := l.once(ctx, r, mine)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > 10*time.Second {
			wait = 20 * time.Millisecond
		}
		var refused *tunnel.Error
		level := zap.DebugLevel
		if errors.As(err, &refused) {
			level = zap.WarnLevel
		}
		l.log.Log(level, "reading the log again", zap.String("stream", r.Stream), zap.Uint64("seq", r.From), zap.Error(err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-greeted:
		case <-time.After(wait):
		}
	}
}

// once reads until a gateway, or the way to it, ends.
func (l *Log) once(ctx context.Context, r statelog.Reading, h statelog.Handler) error {
	data, err := json.Marshal(request{r.Stream, r.Subjects, r.From, r.Goal})
	if err != nil {
		return err
	}
	dial, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	t, err := tunnel.PeerAs(l.client).Dial(dial, l.conn, proto.LogReadSubject(l.client), &message.TunnelOpen{Kind: Kind, Request: data})
	if err != nil {
		return err
	}
	defer t.Close(nil)
	defer context.AfterFunc(ctx, func() { t.Close(nil) })()
	in := bufio.NewReaderSize(t.Channel(channel), 32<<10)
	for err == nil {
		var record []byte
		if record, err = readRecord(in); err != nil {
			break
		}
		var m *bus.StreamMsg
		var settled uint64
		switch m, settled, err = parse(record); {
		case err != nil:
		case m != nil:
			h.Message(m)
		default:
			h.Settled(settled)
		}
	}
	return errors.Join(t.Err(), err)
}
