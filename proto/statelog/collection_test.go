package statelog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"kubus.dev/proto"
)

// write applies versions of as many objects, one revision each, and gives the last.
func write(c *collection, after uint64, n int, deleted bool) uint64 {
	for i := range n {
		after++
		k := proto.Key{GroupResource: c.gr, Namespace: "ns", Name: fmt.Sprint("o", i)}
		c.apply(NewEntry(k, after, []byte(`{"metadata":{}}`), deleted))
	}
	return after
}

// begin is start of a watch that wants every event whole.
func (c *collection) begin(after uint64) (uint64, error) {
	number, _, err := c.start(after, true)
	return number, err
}

// sizes is what a collection holds.
type sizes struct {
	events, bytes, tombs int
	aging                bool
}

func (c *collection) sizes() sizes {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return sizes{len(c.events), c.windowBytes, len(c.tombs), !c.due.IsZero()}
}

// pass lets time pass and what it wakes finish.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestTheWindowForgetsABurstAfterAWhile(t *testing.T) {
	t.Parallel()
	for _, keeps := range []window{longWindow, briefWindow} {
		forgetsABurst(t, keeps)
	}
}

func forgetsABurst(t *testing.T, keeps window) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollection(proto.GroupResource{Resource: "pods"}, 0, nil)
		c.keeps = keeps
		last := write(c, 0, 1000, false)
		place, err := c.begin(last)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.begin(1); err != nil {
			t.Errorf("right after the burst, from revision 1: %v", err)
		}
		pass(keeps.age + time.Second)
		if got := c.sizes().events; got != windowKeep {
			t.Errorf("after %v the window has %d events, want the last %d", keeps.age, got, windowKeep)
		}
		if got, want := c.sizes().bytes, windowKeep*len(`{"metadata":{}}`); got != want {
			t.Errorf("the window counts %d bytes, want %d", got, want)
		}
		if _, err := c.begin(1); !errors.Is(err, ErrExpired) {
			t.Errorf("from revision 1: got %v, want ErrExpired", err)
		}
		if _, err := c.begin(last - windowKeep); err != nil {
			t.Errorf("from the oldest event's predecessor: %v", err)
		}
		// A watch that had seen everything is not disturbed.
		events, changed, err := c.since(place)
		if len(events) != 0 || changed == nil || err != nil {
			t.Errorf("a watch that waited: got %d events, %v", len(events), err)
		}
		write(c, last, 1, false)
		if events, _, err := c.since(place); len(events) != 1 || events[0].Entry.Revision() != last+1 {
			t.Errorf("its next event: got %d, %v", len(events), err)
		}
	})
}

func TestUnderSteadyWritesTheWindowHoldsTheLastMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCollection(proto.GroupResource{Resource: "pods"}, 0, nil)
		last := uint64(0)
		for range 1200 { // 20 minutes
			last = write(c, last, 2, false)
			pass(time.Second)
		}
		want := 2 * int(longWindow.age/time.Second)
		if got := c.sizes().events; got < want-2 || got > want+2 {
			t.Errorf("the window has %d events, want those of %v: %d", got, longWindow.age, want)
		}
	})
}

func TestTombstonesAreForgottenWithoutFurtherDeletes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCollection(proto.GroupResource{Resource: "pods"}, 0, nil)
		last := write(c, 0, 700, false)
		last = write(c, last, 700, true)
		if _, rev := c.last("ns", "o699"); rev != last {
			t.Errorf("the tombstone's revision: got %d, want %d", rev, last)
		}
		pass(proto.TombstoneTTL)
		if got := c.sizes().tombs; got != 700 {
			t.Errorf("while the store may have them: %d tombstones, want 700", got)
		}
		pass(tombAge - proto.TombstoneTTL + time.Second)
		if got := c.sizes().tombs; got != 0 {
			t.Errorf("after %v: %d tombstones, want none", tombAge, got)
		}
		if c.sizes().aging {
			t.Errorf("the timer runs on though nothing can age")
		}
	})
}

// contents are the names and revisions of a snapshot, in its order.
func contents(s Snapshot) string {
	out := fmt.Sprint(s.Len(), ":")
	s.Ascend("", func(e *Entry) bool {
		out += fmt.Sprintf(" %s@%d", e.key.Name, e.revision)
		return true
	})
	return out
}

func TestTheCollectionAsItWasIsFoundAtEveryRevisionOfTheWindow(t *testing.T) {
	t.Parallel()
	c := newCollection(proto.GroupResource{Resource: "pods"}, 0, nil)
	random := rand.New(rand.NewPCG(1, 2))
	write(c, 0, 20, false)
	c.mu.Lock()
	c.forget(len(c.events)) // as if these had come at the start
	c.events = nil
	c.mu.Unlock()
	was := map[uint64]string{20: contents(c.snapshot(20))}
	for rev := uint64(21); rev < 200; rev++ {
		// Half of the revisions are of other collections.
		if random.IntN(2) == 0 {
			k := proto.Key{GroupResource: c.gr, Namespace: "ns", Name: fmt.Sprint("o", random.IntN(30))}
			c.apply(NewEntry(k, rev, []byte(`{"metadata":{}}`), random.IntN(3) == 0))
		}
		was[rev] = contents(c.snapshot(rev))
	}
	now := contents(c.snapshot(199))
	for rev := uint64(20); rev < 200; rev++ {
		s, err := c.at(rev)
		if err != nil {
			t.Fatalf("at %d: %v", rev, err)
		}
		if got := contents(s); got != was[rev] || s.Revision() != rev {
			t.Errorf("at %d: got %s (of %d), want %s", rev, got, s.Revision(), was[rev])
		}
	}
	if got := contents(c.snapshot(199)); got != now {
		t.Errorf("looking back changed the present: got %s, want %s", got, now)
	}
	if _, err := c.at(19); !errors.Is(err, ErrExpired) {
		t.Errorf("before the window: got %v, want ErrExpired", err)
	}
	s, _ := c.at(100)
	write(c, 199, 30, true)
	if got := contents(s); got != was[100] {
		t.Errorf("a later write changed the past: got %s, want %s", got, was[100])
	}
}

// A write that expected a revision is not in the log when another stands directly on it;
// anything else tells nothing.
func TestOnlyWhatStandsDirectlyOnTheExpectedCameInstead(t *testing.T) {
	key := proto.Key{GroupResource: proto.GroupResource{Resource: "configmaps"}, Namespace: "a", Name: "x"}
	other := proto.Key{GroupResource: key.GroupResource, Namespace: "a", Name: "y"}
	version := func(k proto.Key, revision, replaces uint64, deleted bool) *Entry {
		e := NewEntry(k, revision, []byte(`{"metadata":{}}`), deleted)
		e.replaces, e.chained = replaces, true
		return e
	}
	for name, c := range map[string]struct {
		versions []*Entry
		want     bool
	}{
		"the version expected is the newest":  {[]*Entry{version(key, 5, 0, false)}, false},
		"another came instead":                {[]*Entry{version(key, 5, 0, false), version(key, 7, 5, false)}, true},
		"another came instead, and then more": {[]*Entry{version(key, 5, 0, false), version(key, 7, 5, false), version(key, 9, 7, false)}, true},
		"a deletion came instead":             {[]*Entry{version(key, 5, 0, false), version(key, 8, 5, true)}, true},
		"one that nobody read is in between":  {[]*Entry{version(key, 5, 0, false), version(key, 9, 7, false)}, false},
		"of another object":                   {[]*Entry{version(key, 5, 0, false), version(other, 7, 5, false)}, false},
		"it does not say what it replaced":    {[]*Entry{version(key, 5, 0, false), NewEntry(key, 7, []byte(`{"metadata":{}}`), false)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			col := newCollection(key.GroupResource, 0, nil)
			for _, e := range c.versions {
				col.apply(e)
			}
			if got := col.cameInstead(key, 5); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
