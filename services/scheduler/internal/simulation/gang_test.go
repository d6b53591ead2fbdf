package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/planner"
	"kubus.dev/services/scheduler/internal/shape"
)

func member(name, gang string, size int, s *shape.Shape) *shape.Pod {
	p := aPod(name, "job", s)
	p.Gang, p.GangSize = gang, size
	return p
}

func gang(name string, pods, size int, s *shape.Shape) (changes []feed.Change) {
	for i := range pods {
		changes = append(changes, feed.Change{Pod: member(fmt.Sprintf("%s-%d", name, i), name, size, s)})
	}
	return changes
}

// running counts the pods of a gang that have a node.
func (w *world) running(gang string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, p := range w.pods {
		if p.Gang == gang && p.NodeName != "" {
			n++
		}
	}
	return n
}

func TestS12AGangRunsWholeOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		for i := range 3 {
			w.change(feed.Change{Node: aNode(fmt.Sprintf("n%d", i), 2000)})
		}
		s := aShape(1000)
		w.change(gang("big", 8, 8, s)...) // six fit
		w.settle()
		if n := w.running("big"); n != 0 {
			t.Fatalf("%d of 8 run, though only six fit", n)
		}
		if why := w.told["uid-big-0"]; !strings.HasPrefix(why, `only 6 of the 8 pods that gang "big" needs fit: 0/3 nodes are available: 3 Insufficient cpu.`) {
			t.Errorf("told %q", why)
		}
		w.change(gang("small", 2, 2, s)...)
		w.settle()
		if n := w.running("small"); n != 2 {
			t.Errorf("%d of 2 run beside a gang that waits", n)
		}
		w.change(feed.Change{Node: aNode("n3", 4000)})
		w.settle()
		if n := w.running("big"); n != 8 {
			t.Errorf("%d of 8 run, though there is room by now", n)
		}
	})
}

func TestS12AGangWaitsForItsMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.change(feed.Change{Node: aNode("n", 8000)})
		s, other := aShape(1000), aShape(500)
		w.change(gang("g", 3, 4, s)...)
		w.settle()
		if why := w.told["uid-g-0"]; w.running("g") != 0 || why != `waiting for 1 more pods of gang "g", which needs 4` {
			t.Errorf("%d run, told %q", w.running("g"), why)
		}
		w.change(feed.Change{Pod: member("leader", "g", 4, other)}) // of another shape
		w.settle()
		if n := w.running("g"); n != 4 {
			t.Errorf("%d of 4 run", n)
		}
		w.change(feed.Change{Pod: member("late", "g", 4, other)}) // beyond what it needs
		w.settle()
		if n := w.running("g"); n != 5 {
			t.Errorf("%d of 5 run", n)
		}
	})
}

// Whatever answers are lost: at each commit a gang has none or enough, and in the end those
// that fit run.
func TestS12LostAnswersBreakNoGang(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := sync64{r: rand.New(rand.NewPCG(seed, 21))}
			w := newWorld(t, 2)
			w.latency = r.next
			w.gangAnswer = func() (*planner.Verdict, bool) {
				switch r.n(6) {
				case 0:
					return &planner.Verdict{Outcome: planner.Unknown, Error: "lost"}, false
				case 1:
					return &planner.Verdict{Outcome: planner.Unknown, Error: "never came"}, true
				case 2:
					return &planner.Verdict{Outcome: planner.Refused, Error: "not now"}, true
				}
				return nil, false
			}
			for i := range 4 {
				w.change(feed.Change{Node: aNode(fmt.Sprintf("n%d", i), 3000)})
			}
			sizes := map[string]int{}
			for i := range 6 {
				name, size := fmt.Sprintf("g%d", i), 1+r.n(6)
				sizes[name] = size
				w.change(gang(name, size, size, aShape(int64(300+100*r.n(8))))...)
				time.Sleep(time.Duration(r.n(2000)) * time.Millisecond)
				for name, size := range sizes {
					if n := w.running(name); n != 0 && n != size {
						t.Errorf("seed %d: %d of %d pods of %s run", seed, n, size, name)
					}
				}
			}
			r.stop()
			time.Sleep(10 * time.Minute)
			w.settle()
			w.checkRoom()
			for name, size := range sizes {
				if n := w.running(name); n != 0 && n != size {
					t.Errorf("seed %d: %d of %d pods of %s run", seed, n, size, name)
				}
			}
		})
	}
}
