package statelog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// View is one stream's objects in this process: snapshots, watches, and up to where
// nothing of the log is missing in them. Safe for concurrent use.
type View struct {
	stream proto.Stream
	log    *zap.Logger
	expire time.Duration // objects vanish after it; 0 never

	applied atomic.Uint64 // nothing is missing up to here
	began   time.Time
	floor   atomic.Uint64 // no collection knows what was before, however empty it is
	ready   chan struct{}

	mu          sync.Mutex // guards what follows; held while entries are applied
	read        uint64     // the last message taken; there are none left up to here
	settled     uint64     // nothing is missing up to here, but for what is held
	collections sync.Map   // proto.GroupResource → *collection; written under mu
	goal        uint64     // bootstrap is complete at this revision
	durable     uint64     // acknowledged up to here
	held        []*bus.StreamMsg
	holdTimer   *time.Timer
	prove       proof
	waiters     []waiter
	fences      map[string]Fence
	recent      uint64     // the first message that is younger than what the log forgets
	expiry      []expiring // the oldest first
	expiryTimer *time.Timer
	beliefs     beliefs
	taps        []*tap

	usage usage
	keeps window
}

// expiring is an object's version whose time will be over. It does not hold the
// version: most are replaced before.
type expiring struct {
	key      proto.Key
	revision uint64
	stored   time.Time
}

type waiter struct {
	revision uint64
	done     chan struct{}
}

// Fence is the newest epoch of a fence: the revision of its last message.
type Fence struct {
	Epoch  uint64 `json:"-"`
	Holder string `json:"holder"`
}

func newView(stream proto.Stream, logger *zap.Logger) *View {
	v := &View{keeps: longWindow, beliefs: beliefs{found: &integrity{}}, stream: stream, began: time.Now(), log: logger.With(zap.String("stream", stream.Name)), ready: make(chan struct{}), fences: map[string]Fence{}}
	if stream.Name == proto.EventsStream.Name {
		v.expire = EventTTL
	}
	return v
}

// EventTTL is how long Kubernetes Events are kept, as upstream's --event-ttl.
const EventTTL = time.Hour

// Revision is up to where nothing of the log is missing: of each object that was changed
// up to here, the view has the version of then or a newer one.
func (v *View) Revision() uint64 { return v.applied.Load() }

// Ready waits until everything that was in the log at the start is in the view.
func (v *View) Ready(ctx context.Context) error {
	select {
	case <-v.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("view of %s: read up to %d: %w", v.stream.Name, v.Revision(), ctx.Err())
	}
}

// IsReady is Ready without waiting.
func (v *View) IsReady() bool {
	select {
	case <-v.ready:
		return true
	default:
		return false
	}
}

// Snapshot gives a resource as it is now. A resource nobody ever wrote is empty.
func (v *View) Snapshot(gr proto.GroupResource) Snapshot {
	// The revision is read first: nothing up to it is missing in the tree.
	rev := v.applied.Load()
	if c := v.known(gr); c != nil {
		return c.snapshot(rev)
	}
	return Snapshot{revision: rev}
}

// ChangedAt is the revision of the newest change of a resource: while it stays, so
// does everything that was made of the resource's objects.
func (v *View) ChangedAt(gr proto.GroupResource) uint64 {
	c := v.known(gr)
	if c == nil {
		return 0
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision
}

// Changed is closed at the next change of a resource.
func (v *View) Changed(gr proto.GroupResource) <-chan struct{} {
	for {
		c := v.collection(gr)
		c.mu.RLock()
		changed, gone := c.changed, c.gone
		c.mu.RUnlock()
		if !gone {
			return changed
		}
	}
}

// SnapshotAt gives a resource as it was at a revision that the view has reached, at
// the cost of what has changed since. Any process that reads the log can make it, so
// one may go on where another began. It has no indexes. ErrExpired: the watch window
// does not reach back so far.
func (v *View) SnapshotAt(gr proto.GroupResource, revision uint64) (Snapshot, error) {
	if c := v.known(gr); c != nil {
		return c.at(revision)
	}
	if revision < v.floor.Load() {
		return Snapshot{}, ErrExpired
	}
	return Snapshot{revision: revision}, nil
}

// Get gives one live object, or nil, without taking a snapshot.
func (v *View) Get(gr proto.GroupResource, ns, name string) *Entry {
	e, _ := v.Last(gr, ns, name)
	return e
}

// Last gives an object's live version, or nil, and the revision of its newest message:
// that of the tombstone when it was deleted, 0 when nothing is known of it.
func (v *View) Last(gr proto.GroupResource, ns, name string) (*Entry, uint64) {
	if c := v.known(gr); c != nil {
		return c.last(ns, name)
	}
	return nil, 0
}

// Resources lists the resources that have objects, had some lately, or are watched.
func (v *View) Resources() []proto.GroupResource {
	var out []proto.GroupResource
	v.collections.Range(func(k, _ any) bool {
		out = append(out, k.(proto.GroupResource))
		return true
	})
	return out
}

// AddIndex makes Snapshot.ByIndex work for name; adding it again changes nothing.
func (v *View) AddIndex(gr proto.GroupResource, name string, fn IndexFunc) {
	for !v.collection(gr).addIndex(name, fn) {
	}
}

// Fence gives the newest epoch of a fence; zero when it was never taken.
func (v *View) Fence(name string) Fence {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.fences[name]
}

// WaitFor returns once nothing is missing in the view up to revision.
func (v *View) WaitFor(ctx context.Context, revision uint64) error {
	if v.applied.Load() >= revision {
		return nil
	}
	v.mu.Lock()
	if v.applied.Load() >= revision {
		v.mu.Unlock()
		return nil
	}
	w := waiter{revision, make(chan struct{})}
	v.waiters = append(v.waiters, w)
	v.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		v.mu.Lock()
		for i := range v.waiters {
			if v.waiters[i].done == w.done {
				v.waiters = append(v.waiters[:i], v.waiters[i+1:]...)
				break
			}
		}
		v.mu.Unlock()
		return fmt.Errorf("waiting for revision %d of %s (at %d): %w", revision, v.stream.Name, v.Revision(), ctx.Err())
	}
}

// known gives a resource's collection, nil where nobody wrote, watched or indexed it:
// who only asks for a resource leaves no trace.
func (v *View) known(gr proto.GroupResource) *collection {
	if c, ok := v.collections.Load(gr); ok {
		return c.(*collection)
	}
	return nil
}

// collection is known, made where there was none.
func (v *View) collection(gr proto.GroupResource) *collection {
	if c := v.known(gr); c != nil {
		return c
	}
	made := newCollection(gr, v.floor.Load(), v.leave)
	made.usage, made.keeps = &v.usage, v.keeps
	got, _ := v.collections.LoadOrStore(gr, made)
	return got.(*collection)
}

// leave takes a deserted collection out of the view.
func (v *View) leave(c *collection) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || !c.deserted() {
		return
	}
	c.gone = true
	close(c.changed)
	v.raise(c.floor)
	v.collections.CompareAndDelete(c.gr, c)
}

// raise moves the floor up. The lock is held.
func (v *View) raise(floor uint64) { v.floor.Store(max(v.floor.Load(), floor)) }

// run reads the stream until ctx ends. subjects restricts what is kept; nil is all.
func (v *View) run(ctx context.Context, source Source, subjects []string) error {
	state, err := v.streamState(ctx, source)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.goal, v.durable = state.LastSeq, max(v.durable, state.LastSeq)
	v.mu.Unlock()
	if d, ok := source.(durability); ok {
		stop, err := d.watermarks(v.stream.Name, func(seq uint64) {
			v.mu.Lock()
			v.acknowledge(seq)
			v.mu.Unlock()
		})
		if err != nil {
			return err
		}
		defer stop()
	}
	return source.Read(ctx, Reading{Stream: v.stream.Name, Subjects: subjects, From: max(state.FirstSeq, 1), Goal: state.LastSeq}, Handler{v.receive, v.settle, v.Revision})
}

func (v *View) streamState(ctx context.Context, source Source) (bus.StreamState, error) {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		state, err := source.StreamState(ctx, v.stream.Name)
		if err == nil || ctx.Err() != nil {
			return state, err
		}
		v.log.Debug("stream not there yet", zap.Error(err))
		select {
		case <-ctx.Done():
			return state, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// proof stores a message and gives its sequence: what was stored before is on disk then.
// nil: this process writes nothing.
type proof func(ctx context.Context) (uint64, error)

// holdFor is how long members of a batch wait for their writer's word. It has died then, or
// the word was lost.
const holdFor = 100 * time.Millisecond

// receive takes a message from the source. Members of an atomic batch can be
// seen before the batch is on disk; they wait for an acknowledgement, for a later
// message outside a batch, or for a proof of our own.
func (v *View) receive(m *bus.StreamMsg) {
	v.mu.Lock()
	defer v.mu.Unlock()
	inBatch := len(m.Header[bus.HeaderBatchID]) > 0
	if inBatch && m.Seq > v.durable {
		v.held = append(v.held, m)
		if v.holdTimer == nil {
			v.holdTimer = time.AfterFunc(holdFor, v.heldLong)
		}
		return
	}
	v.release(^uint64(0))
	v.take(m)
}

// heldLong finds out by itself whether what is held is on disk.
func (v *View) heldLong() {
	v.mu.Lock()
	prove, held := v.prove, len(v.held) > 0
	v.mu.Unlock()
	if !held {
		return
	}
	durable, err := ^uint64(0), error(nil)
	if prove != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		durable, err = prove(ctx)
		cancel()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.holdTimer = nil
	if err == nil {
		v.release(durable)
	}
	if len(v.held) > 0 {
		v.holdTimer = time.AfterFunc(holdFor, v.heldLong)
	}
}

// settle is told by the source that nothing is missing up to seq.
func (v *View) settle(seq uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settled = max(v.settled, seq)
	v.catchUp()
}

// catchUp advances as far as the source has settled and nothing is held. The lock is held.
func (v *View) catchUp() {
	seq := v.settled
	if len(v.held) > 0 {
		seq = min(seq, v.held[0].Seq-1)
	} else {
		v.read = max(v.read, seq)
	}
	if seq >= v.goal {
		v.becomeReady()
	}
	v.advance(seq)
}

// acknowledge says that everything up to seq is durable.
func (v *View) acknowledge(seq uint64) {
	v.durable = max(v.durable, seq)
	v.release(v.durable)
}

func (v *View) release(upTo uint64) {
	n := 0
	for n < len(v.held) && v.held[n].Seq <= upTo {
		v.take(v.held[n])
		n++
	}
	if n > 0 {
		v.held = slices.Delete(v.held, 0, n)
		v.holdsNothing()
		v.catchUp()
	}
}

func (v *View) holdsNothing() {
	if len(v.held) == 0 && v.holdTimer != nil {
		v.holdTimer.Stop()
		v.holdTimer = nil
	}
}

func (v *View) take(m *bus.StreamMsg) {
	v.beliefs.ages.pass(m.Seq, m.Time)
	if m.Seq <= v.read {
		return
	}
	v.read = m.Seq
	switch class, rest, _ := strings.Cut(m.Subject, "."); class {
	case v.stream.Class:
		if err := v.beliefs.believe(m); err != nil {
			v.refuse(m, err)
			break
		}
		key, err := proto.ParseStateSubject(m.Subject)
		if err != nil {
			v.log.Error("message on a subject that names no object", zap.String("subject", m.Subject), zap.Uint64("seq", m.Seq), zap.Error(err))
			break
		}
		e := NewEntry(key, m.Seq, m.Data, first(m.Header, proto.HeaderOperation) == proto.OperationDelete)
		e.stored, e.created = m.Time, first(m.Header, proto.HeaderOperation) == proto.OperationCreate
		e.requestID, _ = strconv.ParseUint(first(m.Header, proto.HeaderRequestID), 16, 64)
		e.replaces, e.chained = replaced(m)
		v.put(e, m)
	case "state_fence":
		if err := v.beliefs.believe(m); err != nil {
			v.refuse(m, err)
			break
		}
		var f Fence
		if name, err := proto.Untoken(rest); err == nil && json.Unmarshal(m.Data, &f) == nil {
			f.Epoch = m.Seq
			v.fences[name] = f
			for _, t := range v.taps {
				t.take(m.Subject, &Entry{revision: m.Seq, data: m.Data, stored: m.Time})
			}
		}
	}
	if v.recent == 0 && m.Time.After(v.began.Add(-forgets)) {
		v.recent = m.Seq
	}
}

// becomeReady ends the bootstrap: everything that was in the log at the start is
// in the view, even when its last messages have expired since.
func (v *View) becomeReady() {
	if !v.IsReady() {
		v.begins()
		v.advance(v.goal)
		close(v.ready)
	}
}

// forgets is after what time a deletion may have left no trace in the log: its
// tombstone has expired. Clocks differ a little.
const forgets = proto.TombstoneTTL - 5*time.Minute

// before is what a message tells of the one before it on its subject. What expires
// goes without a message: nothing is known then.
func (v *View) before(m *bus.StreamMsg) before {
	if v.expire > 0 || m == nil {
		return before{}
	}
	revision, known := replaced(m)
	return before{known: known, revision: revision, create: first(m.Header, proto.HeaderOperation) == proto.OperationCreate}
}

// replaced gives the sequence that a message expected on its subject, where it says so.
func replaced(m *bus.StreamMsg) (revision uint64, known bool) {
	revision, err := strconv.ParseUint(first(m.Header, bus.HeaderExpectLastSubjectSeq), 10, 64)
	return revision, err == nil
}

// begins tells from where on the log has all that happened: from the oldest message
// that is younger than the tombstones it has forgotten.
func (v *View) begins() {
	if v.expire > 0 {
		v.raise(v.goal)
		return
	}
	floor := v.goal
	if v.recent > 0 {
		floor = v.recent - 1
	}
	floor = max(floor, v.beliefs.missing)
	v.raise(floor)
	v.collections.Range(func(_, c any) bool {
		c.(*collection).begins(floor)
		return true
	})
}

// put makes an entry visible; the caller advances. m is the message that brought it,
// nil for a write of our own.
func (v *View) put(e *Entry, m *bus.StreamMsg) {
	if v.expire > 0 && !e.deleted {
		left := v.expire - time.Since(e.stored)
		if left <= 0 {
			return
		}
		v.expiry = append(v.expiry, expiring{e.key, e.revision, e.stored})
		if v.expiryTimer == nil {
			v.expiryTimer = time.AfterFunc(left, v.expireSome)
		}
	}
	for {
		c := v.collection(e.key.GroupResource)
		if v.IsReady() && c.apply(e) || !v.IsReady() && c.boot(e, v.before(m)) {
			break
		}
	}
	if len(v.taps) > 0 {
		subject := e.key.Subject()
		for _, t := range v.taps {
			t.take(subject, e)
		}
	}
}

// expireSome removes objects whose time is over; the log drops them by itself and
// says nothing.
func (v *View) expireSome() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.expiryTimer = nil
	for len(v.expiry) > 0 {
		next := v.expiry[0]
		left := v.expire - time.Since(next.stored)
		if left > 0 {
			v.expiryTimer = time.AfterFunc(left, v.expireSome)
			return
		}
		v.expiry = v.expiry[1:]
		c := v.collection(next.key.GroupResource)
		if e, rev := c.last(next.key.Namespace, next.key.Name); e != nil && rev == next.revision {
			gone := &Entry{key: e.key, revision: v.read, data: e.data, model: e.model, length: e.length, splice: e.splice, empty: e.empty, deleted: true, stored: time.Now()}
			if gone.revision > rev {
				c.apply(gone)
			} else {
				c.drop(e)
			}
			c.forgetTomb(e.key.Namespace, e.key.Name, gone.revision)
		}
	}
}

func (v *View) advance(seq uint64) {
	if seq <= v.applied.Load() {
		return
	}
	v.applied.Store(seq)
	for _, t := range v.taps {
		t.advance(seq)
	}
	kept := v.waiters[:0]
	for _, w := range v.waiters {
		if w.revision <= seq {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	clear(v.waiters[len(kept):])
	v.waiters = kept
}

// offer applies acknowledged writes of our own at once when nothing is missing
// before them, so that a writer does not wait for the consumer. entries are in
// the order of their revisions, first to last without a gap in the log between.
func (v *View) offer(first, last uint64, entries []*Entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	// The consumer may have brought the same messages already; our own bytes are
	// kept then, which carry no headers along.
	ours := len(v.held) == 0 || v.held[len(v.held)-1].Seq <= last
	if v.IsReady() && v.read+1 == first && ours {
		v.held = slices.Delete(v.held, 0, len(v.held))
		v.holdsNothing()
		for _, e := range entries {
			v.put(e, nil)
		}
		v.read = last
		if v.applied.Load()+1 == first {
			v.advance(last)
		}
		v.catchUp()
	}
	v.acknowledge(last)
}

func first(h bus.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
