package read

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apiserver/pkg/util/flowcontrol"

	"go.uber.org/zap"

	"kubus.dev/proto/statelog"
)

func errorField(err error) zap.Field { return zap.Error(err) }

// watchBatch is how many bytes are gathered before they are written over HTTP.
const watchBatch = 128 << 10

// With many watchers of one collection, each waits a little between two writes, so
// that a burst of changes reaches it in fewer and larger ones. A change after a
// pause is sent at once, and few watchers never wait.
const (
	manyWatchers = 32
	watcherShare = 40 * time.Microsecond // of the pause, for each watcher
	longestPause = 20 * time.Millisecond
)

// watcher is one watch request.
type watcher struct {
	c     *collection
	sel   *selector
	frame *framer

	out       watchOut
	batch     int  // how many bytes are gathered before they are written
	whole     bool // each frame is a message of its own
	buf       []byte
	taken     int // of the budget, for buf
	bookmarks bool
	written   time.Time // when the last write ended
}

// watch serves a watch until its time is over, the client leaves, or it falls
// behind the window. Its only state is its place in the window: between writes
// it holds no buffer.
func (c *collection) watch(w http.ResponseWriter, req *http.Request, s shape, ns string, options *internalversion.ListOptions) error {
	f, err := c.newFramer(req, s)
	if err != nil {
		return err
	}
	wr := &watcher{c: c, sel: c.selector(ns, options), frame: f, batch: watchBatch, bookmarks: options.AllowWatchBookmarks}
	timeout := time.Duration(float64(c.o.WatchTimeout) * (1 + rand.Float64()))
	if options.TimeoutSeconds != nil && *options.TimeoutSeconds != 0 { // a negative time is over at once
		timeout = time.Duration(*options.TimeoutSeconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(req.Context(), timeout)
	defer cancel()

	begin, initial, err := c.watchStart(ctx, options)
	if err != nil {
		return err
	}
	run := func(ctx context.Context) {
		if initial != nil {
			if !wr.sendInitial(*initial, options) {
				return
			}
			begin = initial.Revision()
		}
		flowcontrol.WatchInitialized(ctx)
		c.watchers.Add(1)
		defer c.watchers.Add(-1)
		wr.follow(ctx, begin)
	}
	if asksForSocket(w, req) {
		overSocket(ctx, w, req, func(ctx context.Context, out watchOut) {
			wr.out, wr.batch, wr.whole = out, 1, true
			run(ctx)
		}, s.format == formatProtobuf)
		return nil
	}
	out := &httpOut{w, http.NewResponseController(w)}
	wr.out = out
	w.Header().Set("Content-Type", f.contentType)
	w.WriteHeader(http.StatusOK)
	if err := out.rc.Flush(); err != nil {
		return nil // the client left
	}
	run(ctx)
	return nil
}

// watchStart gives the revision to watch from, and the snapshot to send before,
// if the options ask for one.
func (c *collection) watchStart(ctx context.Context, options *internalversion.ListOptions) (uint64, *statelog.Snapshot, error) {
	revision, err := parseRevision(options.ResourceVersion)
	if err != nil {
		return 0, nil, err
	}
	initial := options.SendInitialEvents != nil && *options.SendInitialEvents
	switch {
	case revision > 0 && !initial:
		return revision, nil, nil
	case revision > 0:
		err = c.atLeast(ctx, revision)
	case options.ResourceVersion == "":
		err = c.current(ctx)
	}
	if err != nil {
		return 0, nil, err
	}
	snapshot := c.view.Snapshot(c.gr)
	if initial {
		return 0, &snapshot, nil
	}
	return snapshot.Revision(), nil, nil
}

// sendInitial sends what is there as ADDED events, then the bookmark that ends them.
func (wr *watcher) sendInitial(snapshot statelog.Snapshot, options *internalversion.ListOptions) bool {
	ok := true
	p := &page{}
	if err := wr.c.fill(p, wr.sel, wr.c.beside(snapshot), position{}, 0); err != nil {
		wr.fail(err)
		return false
	}
	for _, e := range p.entries {
		if ok = wr.send(statelog.Added, e); !ok {
			return false
		}
	}
	if options.AllowWatchBookmarks && options.ResourceVersionMatch != "" {
		wr.buf, ok = wr.frame.bookmark(wr.buf, snapshot.Revision(), true)
	}
	return ok && wr.flush()
}

// follow sends the changes behind a revision.
func (wr *watcher) follow(ctx context.Context, after uint64) {
	begin := wr.c.view.Watch
	if wr.sel.lasting() {
		begin = wr.c.view.Resume // what was before a change does not matter
	}
	events, err := begin(wr.c.gr, after)
	if err != nil {
		wr.fail(watchExpired(after, wr.c.view.Revision()))
		return
	}
	defer events.Stop()
	var bookmark <-chan time.Time
	var timer *time.Timer
	deadline, _ := ctx.Deadline()
	// Spread over the last quarter, so that watches that began together do not wake together.
	every := wr.c.o.Bookmarks - time.Duration(rand.Int64N(int64(wr.c.o.Bookmarks)/4+1))
	if pause, more := untilBookmark(time.Now(), deadline, every); wr.bookmarks && more {
		timer = time.NewTimer(pause)
		defer timer.Stop()
		bookmark = timer.C
	}
	sent := after
	due := false
	for {
		progress := events.Progress()
		batch, changed, err := events.Poll()
		if err != nil {
			wr.fail(watchExpired(sent, wr.c.view.Revision()))
			return
		}
		if len(batch) > 0 {
			for i := range batch {
				if batch[i].Entry.Revision() > after && !wr.event(&batch[i]) {
					return
				}
			}
			sent = batch[len(batch)-1].Entry.Revision()
			if !wr.flush() {
				return
			}
			continue
		}
		if due && progress > 0 {
			due = false
			var ok bool
			if wr.buf, ok = wr.frame.bookmark(wr.buf, max(progress, sent), false); !ok || !wr.flush() {
				return
			}
		}
		select {
		case <-changed:
			if !wr.pace(ctx) {
				return
			}
		case now := <-bookmark:
			due = true
			if pause, more := untilBookmark(now, deadline, every); more {
				timer.Reset(pause)
			}
		case <-wr.c.kind.Gone():
			return
		case <-ctx.Done():
			return
		}
	}
}

// lastBookmark is how long before its end a watch gets a last bookmark, as upstream's.
const lastBookmark = 2 * time.Second

// untilBookmark is the time to the next bookmark of a watch that ends at the deadline;
// false: there is none any more.
func untilBookmark(now, deadline time.Time, every time.Duration) (time.Duration, bool) {
	pause := min(every, deadline.Add(-lastBookmark).Sub(now))
	return pause, pause > 0
}

// pace waits until this watcher may write again; false when the watch is over.
func (wr *watcher) pace(ctx context.Context) bool {
	watchers := wr.c.watchers.Load()
	if watchers < manyWatchers {
		return true
	}
	pause := min(time.Duration(watchers)*watcherShare, longestPause) - time.Since(wr.written)
	if pause <= 0 {
		return true
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// event adds a change as the selector sees it: an object that begins to match is
// ADDED, one that ceases to is DELETED with its last matching state.
func (wr *watcher) event(ev *statelog.Event) bool {
	isIn := ev.Type != statelog.Deleted && wr.sel.matches(ev.Entry)
	before := ev.Prev
	if before == nil && ev.Type != statelog.Added {
		before = ev.Entry // of before this process began; the selector is lasting
	}
	wasIn := before != nil && wr.sel.matches(before)
	switch {
	case isIn && wasIn:
		return wr.add(statelog.Modified, ev.Entry)
	case isIn:
		return wr.add(statelog.Added, ev.Entry)
	case !wasIn:
		return true
	case ev.Type == statelog.Deleted && wr.sel.matches(ev.Entry):
		return wr.add(statelog.Deleted, ev.Entry)
	}
	last := statelog.NewEntry(before.Key(), ev.Entry.Revision(), before.Data(), true)
	return wr.add(statelog.Deleted, last)
}

func (wr *watcher) add(t statelog.EventType, e *statelog.Entry) bool {
	e, err := wr.c.opened(e)
	if err != nil {
		wr.fail(apierrors.NewInternalError(err))
		return false
	}
	return wr.send(t, e)
}

// send is add of an entry that is open. As upstream, nothing in a stream of single
// objects is a list: one that is asked for as lists ends with its first event.
func (wr *watcher) send(t statelog.EventType, e *statelog.Entry) bool {
	if wr.frame.s.list {
		return false
	}
	if len(e.Data()) >= spliced {
		return wr.sendLarge(t, e)
	}
	if wr.buf == nil {
		wr.buf = (*smallChunks.Get().(*[]byte))[:0]
	}
	var err error
	if wr.buf, err = wr.frame.event(wr.buf, t, e); err != nil {
		wr.fail(apierrors.NewInternalError(err))
		return false
	}
	if wr.taken == 0 && len(wr.buf) >= smallChunk && !wr.grow() {
		return wr.flush() // less at a time, until others have written what they hold
	}
	return len(wr.buf) < wr.batch || wr.flush()
}

// grow lets the watcher gather a whole batch, if the budget allows it.
func (wr *watcher) grow() bool {
	if wr.batch <= smallChunk || !wr.c.gathered.take(watchBatch) {
		return false
	}
	wr.taken = watchBatch
	buf := append((*chunks.Get().(*[]byte))[:0], wr.buf...)
	putSmall(wr.buf)
	wr.buf = buf
	return true
}

// sendLarge sends an event of its own, from where its object is kept.
func (wr *watcher) sendLarge(t statelog.EventType, e *statelog.Entry) bool {
	if wr.whole {
		return wr.sendWhole(t, e)
	}
	if wr.buf == nil {
		wr.buf = (*smallChunks.Get().(*[]byte))[:0]
	}
	head, rest, end, ok := wr.frame.split(wr.buf, t, e)
	if !ok {
		return wr.sendWhole(t, e)
	}
	wr.buf = head
	if !wr.flush() || wr.out.write(rest) != nil || wr.out.write([]byte(end)) != nil {
		return false
	}
	wr.written = time.Now()
	return true
}

// sendWhole sends an event that has to be copied. Those of all watches are bounded: who
// comes when there is no room falls behind, or sends it later.
func (wr *watcher) sendWhole(t statelog.EventType, e *statelog.Entry) bool {
	if !wr.flush() {
		return false
	}
	size := 2 * len(e.Data())
	if !wr.c.gathered.wait(wr.frame.ctx, size) {
		return false
	}
	defer wr.c.gathered.give(size)
	frame, err := wr.frame.event(nil, t, e)
	if err != nil {
		wr.fail(apierrors.NewInternalError(err))
		return false
	}
	return wr.out.write(frame) == nil
}

// flush writes what was gathered and gives the buffer back.
func (wr *watcher) flush() bool {
	if wr.buf == nil {
		return true
	}
	buf, taken := wr.buf, wr.taken
	wr.buf, wr.taken = nil, 0
	defer func() {
		wr.c.gathered.give(taken)
		switch {
		case taken == 0:
			putSmall(buf)
		case cap(buf) <= 2*watchBatch:
			buf = buf[:0]
			chunks.Put(&buf)
		}
	}()
	if len(buf) == 0 {
		return true
	}
	if err := wr.out.write(buf); err != nil {
		return false
	}
	wr.written = time.Now()
	return true
}

// fail ends the watch with an ERROR event.
func (wr *watcher) fail(err error) {
	var ok bool
	if wr.buf, ok = wr.frame.failure(wr.buf, err); ok {
		wr.flush()
	}
}
