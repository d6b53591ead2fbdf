package statelog

import (
	"context"
	"sync"

	"kubus.dev/proto"
)

// Watch reads the changes of one resource in order. It holds no events of its
// own: a watch that does not keep up gets ErrExpired. One goroutine at a time.
type Watch struct {
	view *View
	c    *collection
	next uint64
	stop sync.Once
}

// Watch starts behind revision after. ErrExpired: the window begins later.
func (v *View) Watch(gr proto.GroupResource, after uint64) (*Watch, error) {
	return v.watch(gr, after, true)
}

// Resume is Watch for readers to whom the version before a change does not matter. It
// reaches back to before the view began, as far as the log still has all versions: a
// reader that has seen everything, or all but the last few changes, goes on behind the
// restart of its server.
func (v *View) Resume(gr proto.GroupResource, after uint64) (*Watch, error) {
	return v.watch(gr, after, false)
}

func (v *View) watch(gr proto.GroupResource, after uint64, whole bool) (*Watch, error) {
	for {
		c := v.collection(gr)
		next, there, err := c.start(after, whole)
		if err != nil {
			return nil, err
		}
		if there {
			return &Watch{view: v, c: c, next: next}, nil
		}
	}
}

// Next gives the changes since the last call, at least one, and waits for it.
// The slice is shared and must not be changed. The error is ErrExpired or ctx's.
func (w *Watch) Next(ctx context.Context) ([]Event, error) {
	for {
		events, changed, err := w.c.since(w.next)
		if err != nil {
			return nil, err
		}
		if len(events) > 0 {
			w.next += uint64(len(events))
			return events, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Poll gives what is there without waiting, and the channel that is closed at
// the next change when there was nothing.
func (w *Watch) Poll() ([]Event, <-chan struct{}, error) {
	events, changed, err := w.c.since(w.next)
	w.next += uint64(len(events))
	return events, changed, err
}

// Progress is a revision up to which the watch has given everything, provided
// that the last Poll or Next left nothing: the revision for a bookmark. Call it
// before that Poll.
func (w *Watch) Progress() uint64 { return w.view.Revision() }

// Stop ends the watch, any number of times. A watch that is not stopped keeps its
// collection in the view though all objects are gone.
func (w *Watch) Stop() { w.stop.Do(w.c.stop) }
