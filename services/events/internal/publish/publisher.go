// Package publish announces events on stream CHANGES, in order and without gaps
// or repetitions, and knows after a restart how far it was.
//
// Every message names the last sequence of CHANGES that it expects. So messages
// can be sent without waiting for each other: when one is lost, all behind it are
// refused, and the publisher reads back where it stands. It also means that of two
// publishers by mistake only one gets through at a time, and none repeats what the
// other said.
package publish

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/services/events/internal/change"
)

// most is how many messages are on their way at once.
const most = 256

// headerExpect is JetStream's condition on a stream's last sequence.
const headerExpect = "Nats-Expected-Last-Sequence"

// Publisher is used by one goroutine.
type Publisher struct {
	conn   *bus.Conn
	log    *zap.Logger
	cursor change.Cursor
	last   uint64 // of CHANGES
}

// Open reads where the announcements stand. fresh says that there are none, or
// only such as have aged out.
func Open(ctx context.Context, conn *bus.Conn, logger *zap.Logger) (p *Publisher, fresh bool, err error) {
	p = &Publisher{conn: conn, log: logger}
	fresh, err = p.readBack(ctx)
	return p, fresh, err
}

// Cursor is how far each state stream has been announced.
func (p *Publisher) Cursor() change.Cursor { return p.cursor }

func (p *Publisher) readBack(ctx context.Context) (fresh bool, err error) {
	state, err := p.conn.StreamState(ctx, proto.ChangesStream.Name)
	if err != nil {
		return false, err
	}
	m, err := p.conn.LastOn(ctx, proto.ChangesStream.Name, proto.ChangesStream.Subjects[0])
	if err != nil {
		return false, err
	}
	if m == nil {
		if p.cursor == nil {
			p.cursor = change.Cursor{}
		}
		p.last = state.LastSeq
		return true, nil
	}
	header := ""
	if h := m.Header[change.HeaderCursor]; len(h) > 0 {
		header = h[0]
	}
	p.cursor, err = change.ParseCursor(header)
	p.last = m.Seq
	return false, err
}

// Run publishes what comes until ctx ends.
func (p *Publisher) Run(ctx context.Context, events <-chan *change.Event) error {
	for {
		batch := make([]*change.Event, 0, 8)
		select {
		case e := <-events:
			batch = append(batch, e)
		case <-ctx.Done():
			return nil
		}
	more:
		for len(batch) < most {
			select {
			case e := <-events:
				batch = append(batch, e)
			default:
				break more
			}
		}
		if err := p.publish(ctx, batch); err != nil {
			return err
		}
	}
}

// publish returns when all of the batch is stored, or ctx has ended.
func (p *Publisher) publish(ctx context.Context, batch []*change.Event) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := p.attempt(ctx, batch)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		p.log.Warn("announcing changes, will go on from where it stopped", zap.Int("messages", len(batch)), zap.Error(err))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		for {
			if _, err = p.readBack(ctx); err == nil {
				break
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// attempt sends what is not announced yet and waits for all of it.
func (p *Publisher) attempt(ctx context.Context, batch []*change.Event) error {
	var sent []*bus.Pending
	cursor, last := change.Cursor{}, p.last
	for stream, seq := range p.cursor {
		cursor[stream] = seq
	}
	var failed error
	for _, e := range batch {
		if e.Seq <= cursor[e.Stream] {
			continue
		}
		cursor[e.Stream] = e.Seq
		e.Header[change.HeaderCursor] = []string{cursor.String()}
		e.Header[headerExpect] = []string{strconv.FormatUint(last, 10)}
		pending, err := p.conn.PublishAsync(e.Subject, e.Data, e.Header)
		if err != nil {
			failed = fmt.Errorf("publishing %s: %w", e.Subject, err)
			break
		}
		sent = append(sent, pending)
		last++
	}
	for _, pending := range sent {
		if _, err := pending.Wait(ctx, 10*time.Second); err != nil {
			failed = errors.Join(failed, err)
			break
		}
	}
	if failed == nil {
		p.cursor, p.last = cursor, last
	}
	return failed
}
