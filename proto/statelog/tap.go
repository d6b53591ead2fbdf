package statelog

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// mostWaiting bounds the bytes of the versions that wait for who reads from a view. One
// that does not keep up reads from the store what it has there by then.
const mostWaiting = 16 << 20

// tap queues what a view takes for one reader.
type tap struct {
	subjects subjects
	ready    chan struct{} // has one when there is something

	mu      sync.Mutex
	taken   []taken
	bytes   int
	overrun bool
	last    uint64 // the newest version queued
	goal    uint64 // as Reading.Goal
	settled uint64 // was queued
}

// taken is the next version, or up to where nothing is missing.
type taken struct {
	subject string
	entry   *Entry
	settled uint64
}

// tap begins to queue; the view has taken everything there is up to since.
func (v *View) tap(r Reading) (t *tap, since uint64) {
	t = &tap{subjects: r.Subjects, goal: r.Goal, ready: make(chan struct{}, 1)}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.taps = append(slices.Clip(v.taps), t)
	return t, v.read
}

func (v *View) untap(t *tap) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.taps = slices.DeleteFunc(slices.Clone(v.taps), func(other *tap) bool { return other == t })
}

// attest queues up to where nothing is missing now, behind all that the view has taken.
func (v *View) attest(t *tap) {
	v.mu.Lock()
	defer v.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle(v.applied.Load())
}

// take queues a version if it is of what the reader reads. The view's lock is held.
func (t *tap) take(subject string, e *Entry) {
	if !t.subjects.have(subject) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.overrun {
		return
	}
	t.last = e.revision
	t.bytes += e.len()
	if t.bytes > mostWaiting && len(t.taken) > 0 {
		t.overrun, t.taken, t.bytes = true, nil, 0
	} else {
		t.taken = append(t.taken, taken{subject: subject, entry: e})
	}
	signal(t.ready)
}

// advance is told up to where nothing is missing. A reader for whom nothing came is not
// woken. The view's lock is held.
func (t *tap) advance(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settled < t.last || t.settled < t.goal && t.goal <= seq {
		t.settle(seq)
	}
}

func (t *tap) settle(seq uint64) {
	t.settled = seq
	if t.overrun {
		return
	}
	if n := len(t.taken); n > 0 && t.taken[n-1].entry == nil {
		t.taken[n-1].settled = seq
		return
	}
	t.taken = append(t.taken, taken{settled: seq})
	signal(t.ready)
}

// next waits for what was queued, and gives it; ErrExpired: some of it was lost.
func (t *tap) next(ctx context.Context) ([]taken, error) {
	select {
	case <-t.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.overrun {
		return nil, ErrExpired
	}
	out := t.taken
	t.taken, t.bytes = nil, 0
	return out, nil
}

// message is a version as it stands in the log, but for what proves who wrote it.
func (t *taken) message() *bus.StreamMsg {
	e := t.entry
	h := bus.Header{}
	switch {
	case e.deleted:
		h[proto.HeaderOperation] = []string{proto.OperationDelete}
	case e.created:
		h[proto.HeaderOperation] = []string{proto.OperationCreate}
	}
	if e.requestID != 0 {
		h[proto.HeaderRequestID] = []string{strconv.FormatUint(e.requestID, 16)}
	}
	return &bus.StreamMsg{Subject: t.subject, Header: h, Data: e.Data(), Seq: e.revision, Time: e.stored}
}

// subjects are those of objects, or end in ".>"; none are all.
type subjects []string

func (s subjects) have(subject string) bool {
	return len(s) == 0 || slices.ContainsFunc(s, func(one string) bool {
		prefix, open := strings.CutSuffix(one, ">")
		return subject == one || open && strings.HasPrefix(subject, prefix)
	})
}

// Source is the log as these views have it: others who read it through them see what they
// believe and no more, and no version is left out while they keep up. What was before, or
// is too much to wait for them, comes from the store.
func (vs *Views) Source() Source { return fromViews{vs} }

type fromViews struct{ views *Views }

// StreamState implements Source.
func (s fromViews) StreamState(ctx context.Context, stream string) (bus.StreamState, error) {
	return s.views.source.StreamState(ctx, stream)
}

// Read implements Source.
func (s fromViews) Read(ctx context.Context, r Reading, h Handler) error {
	view := s.views.Named(r.Stream)
	if view == nil {
		return s.views.source.Read(ctx, r, h)
	}
	next := r.From
	handle := func(m *bus.StreamMsg) {
		if m.Seq >= next {
			next = m.Seq + 1
			h.Message(m)
		}
	}
	if err := view.Ready(ctx); err != nil {
		return err
	}
	for {
		t, since := view.tap(r)
		r.From = next
		err := s.follow(ctx, view, t, since, r, Handler{Message: handle, Settled: h.settled})
		view.untap(t)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != ErrExpired { //nolint:errorlint // it is our own
			return err
		}
	}
}

// follow hands over what the store has, and then what the view takes, until that is
// more than waits for a reader.
func (s fromViews) follow(ctx context.Context, view *View, t *tap, since uint64, r Reading, h Handler) error {
	if r.From <= since {
		if err := s.replay(ctx, view, since, r, h.Message); err != nil {
			return err
		}
	}
	view.attest(t)
	for {
		batch, err := t.next(ctx)
		if err != nil {
			return err
		}
		for i := range batch {
			if batch[i].entry != nil {
				h.Message(batch[i].message())
			} else {
				h.settled(batch[i].settled)
			}
		}
	}
}

// replay hands over what the store has up to a sequence that the view has taken. What was
// replaced since is behind it, where the view takes it.
func (s fromViews) replay(ctx context.Context, view *View, upTo uint64, r Reading, h func(*bus.StreamMsg)) error {
	reading, done := context.WithCancel(ctx)
	defer done()
	err := s.views.source.Read(reading, r, Handler{
		Message: func(m *bus.StreamMsg) {
			if m.Seq > upTo {
				done()
			} else if reading.Err() == nil && view.shows(m.Seq) {
				h(m)
			}
		},
		Settled: func(seq uint64) {
			if seq >= upTo {
				done()
			}
		},
	})
	if reading.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}
