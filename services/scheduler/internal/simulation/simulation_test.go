package simulation

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/planner"
	"kubus.dev/services/scheduler/internal/shape"
)

func TestEveryPodOfAGroupIsBoundAndSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		for i := range 10 {
			w.change(feed.Change{Node: aNode(fmt.Sprintf("n%d", i), 4000)})
		}
		s := aShape(10)
		var changes []feed.Change
		for i := range 100 {
			changes = append(changes, feed.Change{Pod: aPod(fmt.Sprintf("p%d", i), "rs", s)})
		}
		w.change(changes...)
		w.settle()
		if w.bound != 100 {
			t.Fatalf("bound %d of 100 pods", w.bound)
		}
		for i := range w.truth.Slots() {
			if n := w.truth.Node(int32(i)); n.Pods != 10 {
				t.Errorf("node %s has %d pods, want 10 on each", n.Name, n.Pods)
			}
		}
		if w.bulks > 3 {
			t.Errorf("100 pods of one group took %d bulk requests", w.bulks)
		}
	})
}

func TestZonesGetTheirShareThoughOneIsBigger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		zone := func(z string) func(*corev1.Node) {
			return func(n *corev1.Node) { n.Labels[corev1.LabelTopologyZone] = z }
		}
		for i := range 6 {
			w.change(feed.Change{Node: aNode(fmt.Sprintf("a%d", i), 32000, zone("a"))})
		}
		for i := range 2 {
			w.change(feed.Change{Node: aNode(fmt.Sprintf("b%d", i), 32000, zone("b"))})
		}
		s := aShape(10)
		for i := range 20 {
			w.change(feed.Change{Pod: aPod(fmt.Sprintf("p%d", i), "rs", s)})
			w.settle()
		}
		in := map[string]int64{}
		for i := range w.truth.Slots() {
			n := w.truth.Node(int32(i))
			in[n.Class.Zone] += n.Pods
		}
		if b := in["b"]; b < 6 || b > 12 {
			t.Errorf("zones got %v of 20 pods; want about half each", in)
		}
	})
}

func TestS13AnUnschedulablePodSaysWhyAndWakesWhenThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.change(feed.Change{Node: aNode("small", 1000)}, feed.Change{Node: aNode("tainted", 8000, func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "dedicated", Effect: corev1.TaintEffectNoSchedule}}
		})})
		w.change(feed.Change{Pod: aPod("big", "", aShape(2000))})
		w.settle()
		want := "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
		if got := w.told["uid-big"]; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		w.change(feed.Change{Node: aNode("tainted", 8000)})
		w.settle()
		if w.bound != 1 {
			t.Errorf("the pod was not bound when the taint went")
		}
	})
}

func TestRoomOfADeletedPodGoesToTheMostImportant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.change(feed.Change{Node: aNode("n", 1000)})
		w.change(feed.Change{Pod: aPod("first", "", aShape(1000, func(p *corev1.Pod) { n := int32(200); p.Spec.Priority = &n }))})
		w.settle()
		high := func(p *corev1.Pod) { n := int32(100); p.Spec.Priority = &n }
		w.change(feed.Change{Pod: aPod("low", "", aShape(1000))}, feed.Change{Pod: aPod("high", "", aShape(1000, high))})
		w.settle()
		w.change(feed.Change{Pod: w.pods["uid-first"], Gone: true})
		w.settle()
		if p := w.pods["uid-high"]; p.NodeName != "n" {
			t.Errorf("the pod of high priority is still pending")
		}
		if p := w.pods["uid-low"]; p.NodeName != "" {
			t.Errorf("the pod of low priority was bound to a full node")
		}
	})
}

func TestS9AGatedPodWaitsForItsGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.change(feed.Change{Node: aNode("n", 1000)})
		gate := func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x"}} }
		w.change(feed.Change{Pod: aPod("p", "", aShape(1, gate))})
		w.settle()
		if w.bound != 0 {
			t.Fatal("a gated pod was bound")
		}
		w.change(feed.Change{Pod: aPod("p", "", aShape(1))})
		w.settle()
		if w.bound != 1 {
			t.Error("the pod was not bound when its gate was removed")
		}
	})
}

func TestARefusedBindingIsTriedAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.change(feed.Change{Node: aNode("n", 1000)})
		refusals := 3
		w.answer = func(planner.Binding) *planner.Verdict {
			if refusals == 0 {
				return nil
			}
			refusals--
			return &planner.Verdict{Outcome: planner.Refused, Error: "webhook says no"}
		}
		began := time.Now()
		w.change(feed.Change{Pod: aPod("p", "", aShape(1))})
		time.Sleep(time.Minute)
		w.settle()
		if w.bound != 1 {
			t.Fatal("the pod was not bound after the refusals ended")
		}
		if took := time.Since(began); refusals != 0 || took < 7*time.Second {
			t.Errorf("3 refusals were retried within %s, without back-off", took)
		}
	})
}

func TestS4AnUnknownOutcomeKeepsTheRoomUntilItIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.change(feed.Change{Node: aNode("n", 1000)})
		answers := 0
		w.answer = func(planner.Binding) *planner.Verdict {
			if answers++; answers <= 2 {
				return &planner.Verdict{Outcome: planner.Unknown}
			}
			return nil
		}
		w.change(feed.Change{Pod: aPod("a", "", aShape(1000))})
		w.change(feed.Change{Pod: aPod("b", "", aShape(1000))})
		time.Sleep(time.Minute)
		w.settle()
		if w.bound != 1 {
			t.Errorf("bound %d pods, the node takes one", w.bound)
		}
		w.checkRoom()
	})
}

// events is how many TestH12NoLostWakeUps lets happen; CI has few, `make scheduler-fuzz` 10^6.
var events = flag.Int("events", 12_000, "random events of TestH12NoLostWakeUps")

// H12, S4: whatever happens in whatever order, with several workers and slow commits: no
// node is over-committed at any revision, and at rest no pod sleeps beside room.
func TestH12NoLostWakeUps(t *testing.T) {
	for seed := range uint64(*events) / 400 {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomEvents(t, seed, 400) })
		})
	}
}

func randomEvents(t *testing.T, seed uint64, steps int) {
	r := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, 1+r.IntN(3))
	var lat sync64
	lat.r = rand.New(rand.NewPCG(seed, 2))
	w.latency = lat.next
	w.answer = func(b planner.Binding) *planner.Verdict {
		switch lat.n(20) {
		case 0:
			return &planner.Verdict{Outcome: planner.Unknown}
		case 1:
			return &planner.Verdict{Outcome: planner.Refused, Error: "no"}
		}
		return nil
	}
	table := shape.NewTable()
	shapes := make([]*shape.Shape, 12)
	for i := range shapes {
		priority := int32(r.IntN(3))
		shapes[i] = aShape(int64(100+r.IntN(900)), func(p *corev1.Pod) {
			p.Spec.Priority = &priority
			if i%4 == 0 {
				p.Spec.Tolerations = []corev1.Toleration{{Key: "t", Operator: corev1.TolerationOpExists}}
			}
			if i%5 == 0 {
				p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}}
			}
		})
	}
	taint := func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "t", Effect: corev1.TaintEffectNoSchedule}} }
	for step := range steps {
		switch k := r.IntN(10); {
		case k < 5:
			var changes []feed.Change
			for range 1 + r.IntN(8) {
				w.mu.Lock()
				name := fmt.Sprintf("p%d-%d", step, len(changes))
				w.mu.Unlock()
				if r.IntN(4) == 0 {
					changes = append(changes, feed.Change{Pod: aDaemon(t, table, name, fmt.Sprintf("set%d", r.IntN(2)), fmt.Sprintf("n%d", r.IntN(13)), int64(100+100*r.IntN(3)))})
					continue
				}
				changes = append(changes, feed.Change{Pod: aPod(name, fmt.Sprintf("rs%d", r.IntN(6)), shapes[r.IntN(len(shapes))])})
			}
			w.change(changes...)
		case k < 8:
			w.mu.Lock()
			if p := pick(w.pods, r); p != nil {
				w.commit(feed.Change{Pod: p, Gone: true})
			}
			w.mu.Unlock()
		case k == 8:
			n := aNode(fmt.Sprintf("n%d", r.IntN(12)), int64(1000+r.IntN(4)*500))
			if r.IntN(3) == 0 {
				taint(n)
			}
			w.mu.Lock()
			if old := w.nodes[n.Name]; old != nil { // nodes do not shrink, so that over-commitment is ours
				n.Status = old.Status
			}
			w.commit(feed.Change{Node: n})
			w.mu.Unlock()
		default:
			time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
		}
	}
	lat.stop()
	time.Sleep(10 * time.Minute)
	w.settle()
	w.checkAwake()
	w.checkRoom()
}

// sync64 is randomness that several goroutines share; over turns it off.
type sync64 struct {
	mu   sync.Mutex
	r    *rand.Rand
	over bool
}

func (s *sync64) n(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return n - 1
	}
	return s.r.IntN(n)
}

func (s *sync64) next() time.Duration { return time.Duration(s.n(500)) * time.Millisecond }

func (s *sync64) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

func pick(pods map[string]*shape.Pod, r *rand.Rand) *shape.Pod {
	if len(pods) == 0 {
		return nil
	}
	uids := slices.Sorted(maps.Keys(pods))
	return pods[uids[r.IntN(len(uids))]]
}
