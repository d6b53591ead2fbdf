package statelog

import (
	"context"
	"errors"
	"sync"
	"time"

	"kubus.dev/proto/bus"
)

// ends is what a settler asks the store.
type ends interface {
	StreamState(ctx context.Context, stream string) (bus.StreamState, error)
	FirstBehind(ctx context.Context, stream string, subjects []string, seq uint64) (uint64, error)
}

var errBehind = errors.New("the store's answer is older than what was read of it")

// settler finds out, for one reading of the store, up to where nothing is missing.
//
// While sequences follow each other nothing is. A gap is a message that was taken away
// before it was read: most likely it was replaced, by one that the log had before the
// message behind the gap was handed over. So it asks for the log's end, reads up to
// there, and nothing is missing if no gap came in between; else it asks again. How many
// messages the store says are waiting does not tell: it counts some of them late.
type settler struct {
	store ends
	r     Reading
	h     Handler

	doubted chan struct{} // has one when doubt began
	moved   chan struct{} // has one when a message came while in doubt

	mu    sync.Mutex
	read  uint64 // everything there is up to here was handed over
	doubt bool   // something before it may be missing
	gap   uint64 // the message with the newest gap before it
	more  bool   // the store said that another message waits
}

func newSettler(store ends, r Reading, h Handler) *settler {
	st := &settler{store: store, r: r, h: h, doubted: make(chan struct{}, 1), moved: make(chan struct{}, 1), read: max(r.From, 1) - 1, more: true}
	st.begin()
	return st
}

// begin says that something may be missing. The lock is held.
func (st *settler) begin() {
	if !st.doubt {
		st.doubt = true
		signal(st.doubted)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// waiting is told how many messages there are to read.
func (st *settler) waiting(pending uint64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.more = pending > 0; !st.more {
		signal(st.moved)
	}
}

// message hands over the next message.
func (st *settler) message(m *bus.StreamMsg) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.h.Message(m)
	if m.Seq != st.read+1 && m.Seq > st.h.known()+1 {
		st.gap = m.Seq
		st.begin()
	}
	st.read = max(st.read, m.Seq)
	st.more = m.Pending > 0
	if st.doubt {
		signal(st.moved)
	} else {
		st.h.settled(st.read)
	}
}

// run settles whatever is in doubt until ctx ends.
func (st *settler) run(ctx context.Context) {
	for {
		select {
		case <-st.doubted:
		case <-ctx.Done():
			return
		}
		for wait := time.Millisecond; ; {
			done, err := st.settle(ctx)
			if done {
				break
			}
			if err == nil {
				continue
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
			wait = min(2*wait, time.Second)
		}
	}
}

// settle reads up to the log's end and tells whether nothing is missing then, or what
// kept it from finding out.
func (st *settler) settle(ctx context.Context) (bool, error) {
	st.mu.Lock()
	from := st.read
	st.mu.Unlock()
	state, err := st.store.StreamState(ctx, st.r.Stream)
	if err != nil {
		return false, err
	}
	if state.LastSeq < from {
		return false, errBehind
	}
	if err := st.reach(ctx, state.LastSeq); err != nil {
		return false, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.read = max(st.read, state.LastSeq)
	if st.gap > from {
		return false, nil
	}
	st.doubt = false
	st.h.settled(st.read)
	return true, nil
}

// reach returns when all that there is up to a sequence has been handed over.
func (st *settler) reach(ctx context.Context, end uint64) error {
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		st.mu.Lock()
		read, more := st.read, st.more
		st.mu.Unlock()
		if read >= end {
			return nil
		}
		if !more { // the last ones may have been taken away
			next, err := st.store.FirstBehind(ctx, st.r.Stream, st.r.Subjects, read)
			if err != nil {
				return err
			}
			if next == 0 {
				return nil
			}
			if next > end { // it may have replaced one of those up to end
				st.mu.Lock()
				st.gap = max(st.gap, end)
				st.mu.Unlock()
				return nil
			}
		}
		select {
		case <-st.moved:
			wait = time.Millisecond
		case <-time.After(wait):
			st.mu.Lock()
			st.more = false // ask
			st.mu.Unlock()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
