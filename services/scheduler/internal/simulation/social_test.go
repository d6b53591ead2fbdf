package simulation

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/planner"
	"kubus.dev/services/scheduler/internal/shape"
)

// kind is a template whose pods are called app in their labels.
type kind struct {
	s    *shape.Shape
	self *shape.Identity
}

func aKind(app string, milliCPU int64, change ...func(*corev1.Pod)) kind {
	set := labels.Set{"app": app}
	s := aShape(milliCPU, append([]func(*corev1.Pod){func(p *corev1.Pod) { p.Namespace, p.Labels = "default", set }}, change...)...)
	return kind{s, &shape.Identity{Namespace: "default", Labels: set}}
}

func (k kind) pod(name, owner string) *shape.Pod {
	p := aPod(name, owner, k.s)
	p.Self = k.self
	return p
}

func (k kind) pods(n int, owner string) (changes []feed.Change) {
	for i := range n {
		changes = append(changes, feed.Change{Pod: k.pod(fmt.Sprintf("%s-%s-%d", owner, k.self.Labels["app"], i), owner)})
	}
	return changes
}

func about(app, key string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}
}

func apart(app, key string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{about(app, key)}}}
	}
}

func together(app, key string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{about(app, key)}}}
	}
}

func spread(app, key string, skew int32, when corev1.UnsatisfiableConstraintAction) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, corev1.TopologySpreadConstraint{
			MaxSkew: skew, TopologyKey: key, WhenUnsatisfiable: when, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}})
	}
}

func priority(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Priority = &n }
}

func inZone(z string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Labels[corev1.LabelTopologyZone] = z }
}

// byZone counts the pods of a label in each zone.
func (w *world) byZone(app string) map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	in := map[string]int{}
	for _, p := range w.pods {
		if n := w.nodes[p.NodeName]; n != nil && p.Self.Labels["app"] == app {
			in[n.Labels[corev1.LabelTopologyZone]]++
		}
	}
	return in
}

func TestS5PodsThatKeepApartGetOneNodeEach(t *testing.T) {
	for _, workers := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, workers)
			for i := range 10 {
				w.change(feed.Change{Node: aNode(fmt.Sprint("n", i), 4000)})
			}
			w.change(aKind("db", 10, apart("db", corev1.LabelHostname)).pods(12, "rs")...)
			w.settle()
			for i := range w.truth.Slots() {
				if n := w.truth.Node(int32(i)); n.Pods != 1 {
					t.Errorf("%s has %d pods", n.Name, n.Pods)
				}
			}
			const want = "0/10 nodes are available: 10 node(s) didn't match pod anti-affinity rules. preemption: 0/10 nodes are available: 10 No preemption victims found for incoming pod."
			for uid, told := range w.told {
				if told != want {
					t.Errorf("%s: told %q", uid, told)
				}
			}
			if len(w.told) != 2 {
				t.Errorf("%d pods were told that they fit nowhere, want 2", len(w.told))
			}
			for _, p := range w.pods {
				if p.NodeName == "n3" {
					w.change(feed.Change{Pod: p, Gone: true})
					break
				}
			}
			w.settle()
			w.checkAwake()
			if w.bound != 11 {
				t.Errorf("bound %d pods after one went, want 11", w.bound)
			}
		})
	}
}

func TestPodsThatWantToBeTogetherAreAndSpreadOnesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		for i := range 9 {
			w.change(feed.Change{Node: aNode(fmt.Sprint("n", i), 4000, inZone(fmt.Sprint("z", i%3)))})
		}
		w.change(aKind("near", 10, together("near", corev1.LabelTopologyZone)).pods(20, "a")...)
		w.change(aKind("even", 10, spread("even", corev1.LabelTopologyZone, 1, corev1.DoNotSchedule)).pods(30, "b")...)
		w.change(aKind("soft", 10, spread("soft", corev1.LabelTopologyZone, 1, corev1.ScheduleAnyway)).pods(30, "c")...)
		w.settle()
		if in := w.byZone("near"); len(in) != 1 {
			t.Errorf("pods that want to be in one zone are in %v", in)
		}
		for _, app := range []string{"even", "soft"} {
			if in := w.byZone(app); in["z0"] != 10 || in["z1"] != 10 || in["z2"] != 10 {
				t.Errorf("%s pods by zone: %v, want 10 in each", app, in)
			}
		}
		w.checkAwake()
	})
}

func TestAPodWaitsForTheOneThatItWantsToBeNear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.change(feed.Change{Node: aNode("n1", 1000, inZone("a"))}, feed.Change{Node: aNode("n2", 1000, inZone("b"))})
		w.change(aKind("web", 10, together("cache", corev1.LabelTopologyZone)).pods(3, "rs")...)
		w.settle()
		const want = "0/2 nodes are available: 2 node(s) didn't match pod affinity rules. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
		if got := w.told["uid-rs-web-0"]; got != want {
			t.Errorf("told %q", got)
		}
		w.change(aKind("cache", 10).pods(1, "")...)
		w.settle()
		if w.bound != 4 {
			t.Errorf("bound %d of 4 pods", w.bound)
		}
		w.checkAwake()
	})
}

func TestANodesLabelLetsAWaitingPodIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.change(feed.Change{Node: aNode("n1", 1000)})
		w.change(aKind("web", 10, spread("web", corev1.LabelTopologyZone, 1, corev1.DoNotSchedule)).pods(1, "rs")...)
		w.settle()
		const want = "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label). preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
		if got := w.told["uid-rs-web-0"]; got != want {
			t.Errorf("told %q", got)
		}
		w.change(feed.Change{Node: aNode("n1", 1000, inZone("a"))})
		w.settle()
		if w.bound != 1 {
			t.Error("not bound when the node got its zone")
		}
	})
}

func TestS8AMoreImportantPodGetsTheRoomMadeForIt(t *testing.T) {
	for _, grace := range []time.Duration{0, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 1)
			w.grace = grace
			w.change(feed.Change{Node: aNode("n1", 1000)})
			w.change(aKind("low", 400).pods(2, "")...)
			w.settle()
			w.change(aKind("high", 500, priority(100)).pods(1, "")...)
			time.Sleep(time.Second)
			w.settle()
			const want = "0/1 nodes are available: 1 Insufficient cpu. preemption: found a potential placement for pod on node n1, preempting 1 victims"
			if got := w.told["uid--high-0"]; got != want {
				t.Errorf("told %q", got)
			}
			if grace > 0 {
				if got := w.pods["uid--high-0"].Nominated; got != "n1" {
					t.Errorf("nominated to %q", got)
				}
				// What would fit into the gap must not take it.
				w.change(aKind("small", 300).pods(1, "")...)
			}
			time.Sleep(time.Minute)
			w.settle()
			if w.pods["uid--high-0"].NodeName != "n1" || len(w.preempted) != 1 {
				t.Errorf("on %q after %v went", w.pods["uid--high-0"].NodeName, w.preempted)
			}
			w.checkRoom()
		})
	}
}

func TestEachOfManyGetsItsOwnVictims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.grace = 5 * time.Second
		for i := range 20 {
			w.change(feed.Change{Node: aNode(fmt.Sprint("n", i), 1000)})
		}
		w.change(aKind("low", 250).pods(80, "")...)
		w.settle()
		w.change(aKind("high", 500, priority(100)).pods(30, "rs")...)
		time.Sleep(5 * time.Minute)
		w.settle()
		w.mu.Lock()
		high := 0
		for _, p := range w.pods {
			if p.Shape.Priority == 100 && p.NodeName != "" {
				high++
			}
		}
		w.mu.Unlock()
		if high != 30 || len(w.preempted) != 60 {
			t.Errorf("%d of 30 pods got a node, %d pods went for them, want 60", high, len(w.preempted))
		}
		w.checkRoom()
	})
}

func TestABindingThatCannotBeToldOfDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.change(feed.Change{Node: aNode("n1", 1000)}, feed.Change{Node: aNode("n2", 1000)})
		broken := true
		w.answer = func(b planner.Binding) *planner.Verdict {
			if broken && b.Pod.Name == "-bad-0" {
				return &planner.Verdict{Outcome: planner.Unknown, Error: "webhook: 500"}
			}
			return nil
		}
		w.change(aKind("bad", 800).pods(1, "")...)
		for i := range 50 {
			w.change(feed.Change{Pod: aPod(fmt.Sprint("good", i), "", aShape(10))})
			time.Sleep(time.Second)
		}
		w.mu.Lock()
		if w.bound != 50 {
			t.Errorf("bound %d of 50 other pods", w.bound)
		}
		broken = false
		w.mu.Unlock()
		time.Sleep(time.Minute)
		w.settle()
		if w.bound != 51 {
			t.Error("the pod was not bound when the webhook was well again")
		}
		w.checkRoom()
	})
}

// Whatever happens in whatever order: at each commit pods that keep apart are apart, both
// ways, and no node holds more than it has. While nothing is deleted, the rules of spreading
// and of being together hold at each commit too (Bind checks all of them).
func TestS5RandomRulesHoldAtEachCommit(t *testing.T) {
	for seed := range uint64(30) {
		for _, quiet := range []bool{true, false} {
			t.Run(fmt.Sprintf("seed %d quiet %v", seed, quiet), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { randomRules(t, seed, quiet) })
			})
		}
	}
}

func randomRules(t *testing.T, seed uint64, quiet bool) {
	r := rand.New(rand.NewPCG(seed, 11))
	w := newWorld(t, 1+r.IntN(3))
	w.quiet = quiet
	w.grace = time.Duration(r.IntN(5)) * time.Second
	lat := sync64{r: rand.New(rand.NewPCG(seed, 12))}
	w.latency = lat.next
	for i := range 12 {
		w.change(feed.Change{Node: aNode(fmt.Sprint("n", i), int64(1000+r.IntN(4)*500), inZone(fmt.Sprint("z", i%3)))})
	}
	keys := []string{corev1.LabelHostname, corev1.LabelTopologyZone}
	apps := []string{"a", "b", "c"}
	kinds := make([]kind, 14)
	for i := range kinds {
		rules := []func(*corev1.Pod){}
		key, other := keys[r.IntN(2)], apps[r.IntN(3)]
		own := apps[i%3]
		switch r.IntN(5) {
		case 0:
			rules = append(rules, apart(other, key))
		case 1:
			rules = append(rules, together(other, key))
		case 2:
			rules = append(rules, spread(own, key, 1+r.Int32N(2), corev1.DoNotSchedule))
		case 3:
			rules = append(rules, spread(own, key, 1, corev1.ScheduleAnyway), apart(other, corev1.LabelHostname))
		}
		if !quiet {
			rules = append(rules, priority(r.Int32N(3)))
		}
		kinds[i] = aKind(own, int64(50+r.IntN(300)), rules...)
	}
	for step := range 150 {
		switch k := r.IntN(10); {
		case k < 5:
			var changes []feed.Change
			for range 1 + r.IntN(6) {
				changes = append(changes, feed.Change{Pod: kinds[r.IntN(len(kinds))].pod(fmt.Sprintf("p%d-%d", step, len(changes)), fmt.Sprint("rs", r.IntN(4)))})
			}
			w.change(changes...)
		case k < 7 && !quiet:
			w.mu.Lock()
			if p := pick(w.pods, r); p != nil {
				w.commit(feed.Change{Pod: p, Gone: true})
			}
			w.mu.Unlock()
		default:
			time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
		}
	}
	lat.stop()
	time.Sleep(10 * time.Minute)
	w.settle()
	w.checkAwake()
	w.checkRoom()
}
