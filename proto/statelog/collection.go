package statelog

import (
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/google/btree"

	"kubus.dev/proto"
)

// tombAge is when the store has forgotten a tombstone for certain.
const tombAge = 2 * proto.TombstoneTTL

// collection holds the objects of one resource: the live ones in a copy-on-write
// tree, the recent versions in a window that watches read.
type collection struct {
	gr proto.GroupResource
	// idle is told when there is nothing left that anybody could ask for; it may be nil.
	idle  func(*collection)
	usage *usage // of the view; nil: nobody asks
	keeps window

	mu       sync.RWMutex
	gone     bool // left the view, changed is closed: whoever holds it looks again
	watches  int  // that were not stopped
	tree     *btree.BTreeG[*Entry]
	frozen   *Snapshot // clones nobody changes; nil after a change
	revision uint64    // of the newest change
	tombs    map[tombKey]tomb
	indexes  map[string]*index
	packer   packer

	events      []Event // the window, oldest first; elements never change
	base        uint64  // number of the first element since the start
	floor       uint64  // changes up to this revision are not in the window
	whole       uint64  // events up to this revision have no Prev, though there may have been one
	windowBytes int
	changed     chan struct{} // closed and replaced when events are added

	aging *time.Timer // calls age at due; nothing to forget: due is zero
	due   time.Time
}

type tombKey struct{ namespace, name string }

type tomb struct {
	revision uint64
	at       time.Time
}

func newCollection(gr proto.GroupResource, floor uint64, idle func(*collection)) *collection {
	return &collection{
		gr:      gr,
		idle:    idle,
		keeps:   longWindow,
		floor:   floor,
		tree:    btree.NewG(32, lessEntry),
		tombs:   map[tombKey]tomb{},
		changed: make(chan struct{}),
	}
}

func lessEntry(a, b *Entry) bool {
	if a.key.Namespace != b.key.Namespace {
		return a.key.Namespace < b.key.Namespace
	}
	return a.key.Name < b.key.Name
}

// EventType says what a version means to its object.
type EventType uint8

const (
	Added EventType = iota + 1
	Modified
	Deleted
)

func (t EventType) String() string {
	switch t {
	case Added:
		return "ADDED"
	case Modified:
		return "MODIFIED"
	case Deleted:
		return "DELETED"
	}
	return "INVALID"
}

// Event is one change. Prev is the version before, nil for Added. The Entry of
// a Deleted event holds the final state and the revision of the deletion. An event of
// before the view began (View.Resume) may have a Prev that nobody knows any more: nil.
type Event struct {
	Type  EventType
	Entry *Entry
	Prev  *Entry
}

// before is what a message tells of the one that it replaced in the log.
type before struct {
	known    bool   // the message tells at all
	revision uint64 // 0: there was none
	create   bool   // the object did not exist
}

// apply takes the next version, or reports that the collection is gone.
func (c *collection) apply(e *Entry) bool { return c.take(e, nil) }

// boot is apply of what was in the log when the view began.
func (c *collection) boot(e *Entry, b before) bool { return c.take(e, &b) }

func (c *collection) take(e *Entry, boot *before) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return false
	}
	prev, _ := c.tree.Get(e)
	if prev != nil && prev.revision >= e.revision {
		return true
	}
	if c.keeps.packs {
		c.packer.pack(e)
	}
	tk := tombKey{e.key.Namespace, e.key.Name}
	if e.deleted {
		if prev != nil {
			c.tree.Delete(prev)
		}
		c.tombs[tk] = tomb{e.revision, e.stored}
		c.schedule(e.stored.Add(tombAge))
		if prev == nil && boot == nil {
			return true // nobody ever saw it
		}
	} else {
		c.tree.ReplaceOrInsert(e)
		delete(c.tombs, tk)
	}
	c.revision = max(c.revision, e.revision)
	c.frozen = nil
	for _, ix := range c.indexes {
		ix.replace(prev, e)
	}
	if c.usage != nil {
		c.usage.replace(prev, e)
	}
	ev := Event{Type: Modified, Entry: e, Prev: prev}
	switch {
	case boot != nil && !c.follows(prev, e, boot):
		return true
	case e.deleted:
		ev.Type = Deleted
	case boot != nil && boot.create, boot == nil && prev == nil:
		ev.Type = Added
	}
	c.record(ev)
	return true
}

// follows says whether a version that was in the log at the start may be an event: the
// log keeps only the last version of an object, so the window begins behind the newest
// version that is missing.
func (c *collection) follows(prev, e *Entry, b *before) bool {
	c.whole = max(c.whole, e.revision)
	missing := e.revision
	switch {
	case !b.known:
	case prev != nil && prev.revision == b.revision:
		return true
	default:
		missing = b.revision
	}
	if missing <= c.floor {
		return missing < e.revision
	}
	if n := c.after(missing); n > 0 {
		c.forget(n)
		c.events = c.events[n:]
	}
	c.floor = missing
	return missing < e.revision
}

// begins moves the window's beginning to a revision, or leaves it where it is later.
func (c *collection) begins(floor uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if floor <= c.floor {
		return
	}
	if n := c.after(floor); n > 0 {
		c.forget(n)
		c.events = slices.Clone(c.events[n:])
	}
	c.floor = floor
}

func (c *collection) record(ev Event) {
	c.events = append(c.events, ev)
	c.windowBytes += len(ev.Entry.data)
	if n := c.excess(ev.Entry.stored); n > 0 {
		c.forget(n)
		c.events = c.events[n:]
	}
	if len(c.events) > windowKeep {
		c.schedule(c.events[0].Entry.stored.Add(c.keeps.age))
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// excess counts the oldest events that the bounds leave no room for.
func (c *collection) excess(now time.Time) int {
	n, size := 0, c.windowBytes
	for left := len(c.events); left > windowKeep; left-- {
		e := c.events[n].Entry
		if left <= c.keeps.events && size <= c.keeps.bytes && now.Sub(e.stored) < c.keeps.age {
			break
		}
		size -= len(e.data)
		n++
	}
	return n
}

// forget moves the window's beginning behind its first n events.
func (c *collection) forget(n int) {
	for _, ev := range c.events[:n] {
		c.windowBytes -= len(ev.Entry.data)
	}
	c.floor = c.events[n-1].Entry.revision
	c.base += uint64(n)
}

// schedule sees to it that age runs at a time, or before.
func (c *collection) schedule(at time.Time) {
	if !c.due.IsZero() && !at.Before(c.due) {
		return
	}
	wait := max(time.Until(at), c.keeps.age/4) // the least time between two runs of age
	c.due = time.Now().Add(wait)
	if c.aging == nil {
		c.aging = time.AfterFunc(wait, func() {
			c.age(time.Now())
			if c.idle != nil {
				c.idle(c)
			}
		})
	} else {
		c.aging.Reset(wait)
	}
}

// age forgets what is too old: events beyond the window, and tombstones that the
// store has expired as well.
func (c *collection) age(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due = time.Time{}
	if n := c.excess(now); n > 0 {
		c.forget(n)
		c.events = slices.Clone(c.events[n:]) // the old array holds what was forgotten
	}
	if len(c.events) > windowKeep {
		c.schedule(c.events[0].Entry.stored.Add(c.keeps.age))
	}
	oldest := now
	for k, t := range c.tombs {
		if now.Sub(t.at) >= tombAge {
			delete(c.tombs, k)
		} else if t.at.Before(oldest) {
			oldest = t.at
		}
	}
	if len(c.tombs) == 0 {
		c.tombs = map[tombKey]tomb{} // a map does not shrink
		if c.tree.Len() == 0 && len(c.events) > 0 {
			// Whatever there was is gone for as long as anybody is told of it.
			c.forget(len(c.events))
			c.events = nil
		}
		return
	}
	c.schedule(oldest.Add(tombAge))
}

// deserted says that the collection is empty, has nothing to tell and nobody who
// would hear it. The lock is held.
func (c *collection) deserted() bool {
	return c.watches == 0 && c.tree.Len() == 0 && len(c.tombs) == 0 && len(c.events) == 0 && len(c.indexes) == 0
}

// last gives the live entry, and the revision of the subject's last message
// (that of the tombstone when there is no live entry; 0 when there is nothing).
func (c *collection) last(ns, name string) (*Entry, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if e, ok := c.tree.Get(probe(ns, name)); ok {
		return e, e.revision
	}
	return nil, c.tombs[tombKey{ns, name}].revision
}

func (c *collection) forgetTomb(ns, name string, revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := (tombKey{ns, name}); c.tombs[k].revision == revision {
		delete(c.tombs, k)
	}
}

// drop removes an expired entry that carries the newest revision itself.
func (c *collection) drop(e *Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tree.Delete(e)
	c.frozen = nil
	if c.usage != nil {
		c.usage.replace(e, nil)
	}
	for _, ix := range c.indexes {
		ix.replace(e, &Entry{key: e.key, deleted: true})
	}
}

func probe(ns, name string) *Entry {
	return &Entry{key: proto.Key{Namespace: ns, Name: name}}
}

// snapshot gives the collection as it is; revision is how far the view has come.
func (c *collection) snapshot(revision uint64) Snapshot {
	c.mu.RLock()
	frozen, newest := c.frozen, c.revision
	c.mu.RUnlock()
	if frozen == nil {
		c.mu.Lock()
		if c.frozen == nil {
			s := &Snapshot{tree: c.tree.Clone(), indexes: make(map[string]*indexTree, len(c.indexes))}
			for name, ix := range c.indexes {
				s.indexes[name] = ix.tree.Clone()
			}
			c.frozen = s
		}
		frozen, newest = c.frozen, c.revision
		c.mu.Unlock()
	}
	s := *frozen
	s.revision = max(revision, newest)
	return s
}

// at gives the collection as it was at a revision: the window's later events are
// undone in a copy of the tree. ErrExpired: the window does not reach back so far.
func (c *collection) at(revision uint64) (Snapshot, error) {
	c.mu.Lock()
	if revision < max(c.floor, c.whole) {
		c.mu.Unlock()
		return Snapshot{}, ErrExpired
	}
	s := Snapshot{tree: c.tree.Clone(), revision: revision}
	later := c.events[c.after(revision):]
	c.mu.Unlock()
	for _, ev := range slices.Backward(later) {
		if ev.Prev != nil {
			s.tree.ReplaceOrInsert(ev.Prev)
		} else {
			s.tree.Delete(ev.Entry)
		}
	}
	return s, nil
}

// after gives the place in the window of the first event behind a revision. The
// lock is held.
func (c *collection) after(revision uint64) int {
	return sort.Search(len(c.events), func(i int) bool { return c.events[i].Entry.revision > revision })
}

// addIndex builds an index over what is there; false: the collection is gone.
func (c *collection) addIndex(name string, fn IndexFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || c.indexes[name] != nil {
		return !c.gone
	}
	ix := newIndex(fn)
	c.tree.Ascend(func(e *Entry) bool {
		ix.replace(nil, e)
		return true
	})
	if c.indexes == nil {
		c.indexes = map[string]*index{}
	}
	c.indexes[name] = ix
	c.frozen = nil
	return true
}

// start begins a watch: it gives the number of the first event after a revision. Every
// event that follows has its Prev where the watch needs them. false: the collection is gone.
func (c *collection) start(after uint64, whole bool) (number uint64, there bool, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return 0, false, nil
	}
	if after < c.floor || whole && after < c.whole {
		return 0, true, ErrExpired
	}
	c.watches++
	return c.base + uint64(c.after(after)), true, nil
}

// stop ends a watch.
func (c *collection) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watches--
	if c.deserted() {
		c.schedule(time.Now())
	}
}

// since gives the events from a number on, or a channel that tells of the next.
func (c *collection) since(number uint64) ([]Event, <-chan struct{}, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if number < c.base {
		return nil, nil, ErrExpired
	}
	if rest := c.events[number-c.base:]; len(rest) > 0 {
		return rest[:len(rest):len(rest)], nil, nil
	}
	return nil, c.changed, nil
}
