package daemonset

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/history"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/sim"
)

// play is a set, the nodes with its pods, and its users. In a quiet play nothing
// happens to pods and nodes but what the controller does.
type play struct {
	*sim.Model
	t     *testing.T
	quiet bool
	term  *sim.Term

	sets      sim.Collection[appsv1.DaemonSet]
	nodes     sim.Collection[corev1.Node]
	pods      sim.Collection[corev1.Pod]
	revisions sim.Collection[appsv1.ControllerRevision]

	there     map[string]*corev1.Pod // as the API has them, for the checks
	seen      observed               // by the controller when it looked
	surged    map[string]bool        // nodes with a new pod beside one that was seen available
	templates int
}

var key = types.NamespacedName{Namespace: "ns", Name: "agent"}

func TestSimulation(t *testing.T) {
	t.Parallel()
	sim.Seeds(t, func(t *testing.T, seed uint64) {
		p := &play{Model: sim.New(seed, sim.Odds{}), t: t, there: map[string]*corev1.Pod{}, surged: map[string]bool{}}
		p.quiet = p.Rand.IntN(2) == 0
		p.Odds = sim.Odds{LostRequest: 0.05, LostAnswer: 0.05, Crash: 0.05, Touch: 0.1, Refuse: 0.1, Late: 0.5}
		p.sets = sim.Serve(p.Model, func(w *mirror.World) *mirror.Kind[appsv1.DaemonSet] { return w.DaemonSets }, func(_, _ *appsv1.DaemonSet, _ bool) error { return nil })
		p.nodes = sim.Serve(p.Model, func(w *mirror.World) *mirror.Kind[corev1.Node] { return w.Nodes }, func(_, _ *corev1.Node, _ bool) error { return nil })
		p.pods = sim.Serve(p.Model, func(w *mirror.World) *mirror.Kind[corev1.Pod] { return w.Pods }, p.podChanges)
		p.revisions = sim.Serve(p.Model, func(w *mirror.World) *mirror.Kind[appsv1.ControllerRevision] { return w.ControllerRevisions }, func(_, _ *appsv1.ControllerRevision, _ bool) error { return nil })
		for i := range 1 + p.Rand.IntN(5) {
			p.nodes.Put(nodesOf(fmt.Sprint("node", i))[0])
		}
		p.sets.Put(p.draw())
		p.begin()
		for range 400 {
			p.turn()
			if err := p.Err(); err != nil {
				t.Fatal(err)
			}
		}
		p.settle()
	})
}

func (p *play) draw() *appsv1.DaemonSet {
	set := newSet()
	set.Spec.MinReadySeconds = int32(3 * p.Rand.IntN(2))
	set.Spec.RevisionHistoryLimit = new(int32(2))
	bound := fmt.Sprint(1 + p.Rand.IntN(2))
	if p.Rand.IntN(2) == 0 {
		surging(bound)(set)
	} else {
		unavailable(bound)(set)
	}
	return set
}

func (p *play) begin() {
	p.term = p.Begin(p.t.Context(), func(e *frame.Env) queue.Reconciler[types.NamespacedName] { return newController(e).reconcile })
}

func (p *play) set() *appsv1.DaemonSet { return p.sets.List()[0] }

func (p *play) reconcile() error {
	w := p.term.World
	p.seen = observed{Set: w.DaemonSets.Get("ns", "agent"), Nodes: w.Nodes.List(""), Pods: w.Pods.List("ns")}
	return p.term.Reconcile(key)
}

func (p *play) turn() {
	switch n := p.Rand.IntN(100); {
	case n < 40:
		p.reconcile()
	case n < 80:
		p.run(p.quiet)
	case n < 88:
		p.Deliver(false)
	case n < 94:
		time.Sleep(time.Duration(p.Rand.Int64N(int64(5 * time.Second))))
	case n < 96:
		set := p.set()
		p.templates++
		set.Spec.Template.Spec.Containers[0].Image = fmt.Sprint("image:", p.Rand.IntN(p.templates+1))
		p.sets.Put(set)
	case n < 98 && !p.quiet:
		p.taint()
	default:
		p.End()
	}
	if p.Crashed() {
		p.begin()
	}
}

// taint has a node refuse or take pods again, go or come.
func (p *play) taint() {
	nodes := p.nodes.List()
	node := nodes[p.Rand.IntN(len(nodes))]
	switch p.Rand.IntN(4) {
	case 0:
		if len(nodes) > 1 {
			p.nodes.Remove(node)
		}
		return
	case 1:
		node = nodesOf(fmt.Sprint("node", 5+p.Rand.IntN(3)))[0]
	case 2:
		node.Spec.Taints = nodesOf("x:drained")[0].Spec.Taints
	case 3:
		node.Spec.Taints = nil
	}
	p.nodes.Put(node)
}

// run brings one pod a step further: the scheduler, its node or the pod garbage
// collector does.
func (p *play) run(quiet bool) {
	pods := p.pods.List()
	if len(pods) == 0 {
		return
	}
	each := pods[p.Rand.IntN(len(pods))]
	there := slices.ContainsFunc(p.nodes.List(), func(n *corev1.Node) bool { return n.Name == target(each) })
	switch {
	case each.DeletionTimestamp != nil, !there && each.Spec.NodeName != "":
		p.pods.Remove(each)
	case !there:
	case each.Spec.NodeName == "":
		each.Spec.NodeName = target(each)
		p.pods.Put(each)
	case !pod.Ready(each) && !pod.Terminal(each) && (quiet || p.Rand.IntN(4) > 0):
		p.pods.Put(ready(each, time.Now()))
	case quiet || pod.Terminal(each):
	case p.Rand.IntN(8) == 0:
		each.Status = corev1.PodStatus{Phase: []corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded, corev1.PodRunning}[p.Rand.IntN(3)]}
		p.pods.Put(each)
	case p.Rand.IntN(16) == 0: // evicted
		each.DeletionTimestamp = new(metav1.Now())
		p.pods.Put(each)
	case p.Rand.IntN(16) == 0:
		each.OwnerReferences = nil
		p.pods.Put(each)
	}
}

func (p *play) podChanges(old, new *corev1.Pod, own bool) error {
	if new == nil {
		delete(p.there, old.Name)
	} else {
		p.there[new.Name] = new
	}
	switch {
	case old == nil:
		return p.created(new)
	case own && old.DeletionTimestamp == nil && (new == nil || new.DeletionTimestamp != nil):
		return p.deleted(old)
	}
	return nil
}

// working are the pods of a node that run or may come to.
func (p *play) working(node string) (out []*corev1.Pod) {
	for _, each := range p.there {
		if target(each) == node && pod.Active(each) {
			out = append(out, each)
		}
	}
	return out
}

func (p *play) created(new *corev1.Pod) error {
	most := 1
	if surges(p.seen.Set) {
		most = 2
	}
	if n := len(p.working(target(new))); n > most {
		return fmt.Errorf("node %s has %d pods", target(new), n)
	}
	place := placementOf(p.seen.Set)
	known := append(p.term.World.Nodes.List(""), p.seen.Nodes...) // as it knew them then or a moment later
	if !slices.ContainsFunc(known, func(n *corev1.Node) bool {
		run, _ := place.on(n)
		return run && n.Name == target(new)
	}) {
		return fmt.Errorf("made for %s, where none should be", target(new))
	}
	p.surged[target(new)] = slices.ContainsFunc(p.seen.Pods, func(old *corev1.Pod) bool {
		return target(old) == target(new) && pod.Active(old) && p.available(old)
	})
	doubled := 0
	for node, surged := range p.surged {
		if surged && len(p.working(node)) > 1 {
			doubled++
		}
	}
	if most := maxSurge(p.seen.Set, len(p.seen.Nodes)); p.quiet && doubled > most {
		return fmt.Errorf("%d nodes have two pods, at most %d may", doubled, most)
	}
	return nil
}

// served counts the nodes with an available pod, without that one.
func (p *play) served(without *corev1.Pod) (count int) {
	for _, node := range p.seen.Nodes {
		if p.serves(node.Name, without) {
			count++
		}
	}
	return count
}

func (p *play) serves(node string, without *corev1.Pod) bool {
	return slices.ContainsFunc(p.working(node), func(each *corev1.Pod) bool { return each.Name != without.Name && p.available(each) })
}

func (p *play) available(each *corev1.Pod) bool {
	return pod.Available(each, p.seen.Set.Spec.MinReadySeconds, time.Now())
}

func (p *play) deleted(old *corev1.Pod) error {
	i := slices.IndexFunc(p.seen.Pods, func(each *corev1.Pod) bool { return each.UID == old.UID })
	if !p.quiet || pod.Terminal(old) || i >= 0 && !p.available(p.seen.Pods[i]) {
		return nil
	}
	if p.serves(target(old), old) { // another one does
		return nil
	}
	without := len(p.seen.Nodes) - p.served(old)
	if most := maxUnavailable(p.seen.Set, len(p.seen.Nodes)); without > most {
		return fmt.Errorf("an update leaves %d of %d nodes without an available pod, at most %d may be", without, len(p.seen.Nodes), most)
	}
	return nil
}

// settle lets everything come to rest, and looks whether it is as wished.
func (p *play) settle() {
	p.Odds = sim.Odds{}
	p.quiet = false
	var last error
	for range 600 {
		p.Deliver(true)
		last = p.reconcile()
		for range 4 {
			p.run(true)
		}
		time.Sleep(5 * time.Second)
	}
	if err := p.Err(); err != nil {
		p.t.Fatal(err)
	}
	if err := p.settled(); err != nil {
		p.t.Fatalf("%v; the last reconcile said: %v", err, last)
	}
}

func (p *play) settled() error {
	set, nodes := p.set(), p.nodes.List()
	revisions := p.revisions.List()
	history.Sort(revisions)
	newest := revisions[len(revisions)-1]
	if data, err := history.Data(&set.Spec.Template); err != nil || string(newest.Data.Raw) != string(data) {
		return fmt.Errorf("the newest revision is not the template's: %v %s", err, newest.Data.Raw)
	}
	if len(revisions) > 1+int(*set.Spec.RevisionHistoryLimit) {
		return fmt.Errorf("%d revisions are kept", len(revisions))
	}
	wished, place := 0, placementOf(set)
	for _, node := range nodes {
		run, _ := place.on(node)
		there := p.working(node.Name)
		if !run && len(there) > 0 || run && len(there) != 1 {
			return fmt.Errorf("node %s has %d pods, should run: %v", node.Name, len(there), run)
		}
		if !run {
			continue
		}
		wished++
		if each := there[0]; !p.available(each) || each.Labels[hashLabel] != newest.Labels[hashLabel] || !metav1.IsControlledBy(each, set) {
			return fmt.Errorf("pod %s on %s: %v %v", each.Name, node.Name, each.ObjectMeta, each.Status)
		}
	}
	if total := len(p.pods.List()); total != wished {
		return fmt.Errorf("%d pods, want %d", total, wished)
	}
	n := int32(wished)
	if s := set.Status; s.DesiredNumberScheduled != n || s.CurrentNumberScheduled != n || s.NumberReady != n || s.NumberAvailable != n || s.UpdatedNumberScheduled != n || s.NumberMisscheduled != 0 || s.NumberUnavailable != 0 || s.ObservedGeneration != set.Generation {
		return fmt.Errorf("the status is %+v", s)
	}
	return nil
}
