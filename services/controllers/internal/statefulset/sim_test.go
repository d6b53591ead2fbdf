package statefulset

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/history"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/sim"
)

// play is a set, its pods' nodes and its users. In a quiet play only the controller
// takes pods away and every answer arrives, and then ordering and bounds hold to the
// letter; otherwise they hold in the eyes of the mirrors it decided from.
type play struct {
	*sim.Model
	t     *testing.T
	quiet bool
	term  *sim.Term

	sets      sim.Collection[appsv1.StatefulSet]
	pods      sim.Collection[corev1.Pod]
	claims    sim.Collection[corev1.PersistentVolumeClaim]
	revisions sim.Collection[appsv1.ControllerRevision]

	there     map[string]*corev1.Pod // as the API has them, for the checks
	claimed   map[string]*corev1.PersistentVolumeClaim
	seen      *appsv1.StatefulSet // as the controller saw them when it decided
	seenPods  map[string]*corev1.Pod
	templates int
}

var key = types.NamespacedName{Namespace: "ns", Name: "web"}

func TestSimulation(t *testing.T) {
	t.Parallel()
	sim.Seeds(t, func(t *testing.T, seed uint64) {
		p := &play{Model: sim.New(seed, sim.Odds{}), t: t, there: map[string]*corev1.Pod{}, claimed: map[string]*corev1.PersistentVolumeClaim{}}
		p.quiet = p.Rand.IntN(2) == 0
		p.Odds = sim.Odds{LostRequest: 0.05, Crash: 0.05, Touch: 0.1, Refuse: 0.1, Late: 0.5}
		if !p.quiet {
			p.Odds.LostAnswer = 0.05
		}
		p.sets = sim.Serve(p.Model, func(w *mirror.World) *mirror.Kind[appsv1.StatefulSet] { return w.StatefulSets }, func(_, _ *appsv1.StatefulSet, _ bool) error { return nil })
		p.pods = sim.Serve(p.Model, func(w *mirror.World) *mirror.Kind[corev1.Pod] { return w.Pods }, p.podChanges)
		p.claims = sim.Serve(p.Model, func(w *mirror.World) *mirror.Kind[corev1.PersistentVolumeClaim] { return w.PersistentVolumeClaims }, p.claimChanges)
		p.revisions = sim.Serve(p.Model, func(w *mirror.World) *mirror.Kind[appsv1.ControllerRevision] { return w.ControllerRevisions }, func(_, _ *appsv1.ControllerRevision, _ bool) error { return nil })
		p.sets.Put(p.draw())
		p.begin()
		for range 400 {
			p.turn()
			if err := p.Err(); err != nil {
				t.Fatalf("%v", err)
			}
		}
		p.settle()
	})
}

// draw is a set with a bit of everything.
func (p *play) draw() *appsv1.StatefulSet {
	set := newSet(1 + p.Rand.IntN(5))
	set.Name = key.Name
	set.Spec.MinReadySeconds = int32(3 * p.Rand.IntN(2))
	set.Spec.RevisionHistoryLimit = new(int32(2))
	set.Spec.UpdateStrategy.RollingUpdate.Partition = new(int32(p.Rand.IntN(2)))
	if p.Rand.IntN(2) == 0 {
		set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	}
	if p.Rand.IntN(2) == 0 {
		set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = new(intstr.FromInt32(2))
	}
	if p.Rand.IntN(2) == 0 {
		set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 3}
	}
	if p.Rand.IntN(2) == 0 {
		withClaims(set)
		policies := []appsv1.PersistentVolumeClaimRetentionPolicyType{"Retain", "Delete"}
		set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
			WhenScaled: policies[p.Rand.IntN(2)], WhenDeleted: policies[p.Rand.IntN(2)],
		}
	}
	return set
}

func (p *play) begin() {
	p.term = p.Begin(p.t.Context(), func(e *frame.Env) queue.Reconciler[types.NamespacedName] { return newController(e).reconcile })
}

func (p *play) reconcile() error {
	p.seen, p.seenPods = p.term.World.StatefulSets.Get("ns", "web"), map[string]*corev1.Pod{}
	for _, each := range p.term.World.Pods.List("ns") {
		p.seenPods[each.Name] = each
	}
	return p.term.Reconcile(key)
}

// set is the one the API has.
func (p *play) set() *appsv1.StatefulSet { return p.sets.List()[0] }

func (p *play) turn() {
	switch n := p.Rand.IntN(100); {
	case n < 40:
		p.reconcile()
	case n < 80:
		p.nodes(p.quiet)
	case n < 88:
		p.Deliver(false)
	case n < 94:
		time.Sleep(time.Duration(p.Rand.Int64N(int64(5 * time.Second))))
	case n < 98:
		p.user()
	default:
		p.End()
	}
	p.collect()
	if p.Crashed() {
		p.begin()
	}
}

// nodes brings one pod a step further.
func (p *play) nodes(quiet bool) {
	pods := p.pods.List()
	if len(pods) == 0 {
		return
	}
	each := pods[p.Rand.IntN(len(pods))]
	switch {
	case each.DeletionTimestamp != nil:
		p.pods.Remove(each)
	case each.Spec.NodeName == "":
		each.Spec.NodeName = "node"
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
		delete(each.Labels, appsv1.StatefulSetPodNameLabel)
		p.pods.Put(each)
	case p.Rand.IntN(16) == 0:
		each.OwnerReferences = nil
		p.pods.Put(each)
	}
}

func ready(each *corev1.Pod, now time.Time) *corev1.Pod {
	each.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))},
	}}
	return each
}

// user wants something else: another template, an earlier one, another size.
func (p *play) user() {
	set := p.set()
	switch p.Rand.IntN(3) {
	case 0:
		p.templates++
		set.Spec.Template.Spec.Containers[0].Image = fmt.Sprint("image:", p.templates)
	case 1:
		set.Spec.Template.Spec.Containers[0].Image = fmt.Sprint("image:", p.Rand.IntN(p.templates+1))
	case 2:
		set.Spec.Replicas = new(int32(p.Rand.IntN(6)))
	}
	p.sets.Put(set)
}

// collect is the garbage collector: claims go when their owners are gone.
func (p *play) collect() {
	for _, each := range p.claims.List() {
		owned, alive := len(each.OwnerReferences) > 0, false
		for _, ref := range each.OwnerReferences {
			alive = alive || ref.UID == p.set().UID || slices.ContainsFunc(p.pods.List(), func(p *corev1.Pod) bool { return p.UID == ref.UID })
		}
		if owned && !alive {
			p.claims.Remove(each)
		}
	}
}

func (p *play) claimChanges(old, new *corev1.PersistentVolumeClaim, own bool) error {
	if new == nil {
		delete(p.claimed, old.Name)
		if _, used := p.there[podOf(old.Name)]; used && p.quiet {
			return fmt.Errorf("the claim is gone and its pod is there")
		}
		return nil
	}
	p.claimed[new.Name] = new
	return nil
}

func podOf(claim string) string { return claim[len("data-"):] }

func (p *play) podChanges(old, new *corev1.Pod, own bool) error {
	switch {
	case new == nil:
		delete(p.there, old.Name)
	default:
		p.there[new.Name] = new
	}
	switch {
	case old == nil:
		return p.created(p.seen, new)
	case own && old.DeletionTimestamp == nil && (new == nil || new.DeletionTimestamp != nil):
		return p.deleted(p.seen, old)
	}
	return nil
}

func (p *play) created(set *appsv1.StatefulSet, new *corev1.Pod) error {
	for _, volume := range new.Spec.Volumes {
		if claim := p.claimed[volume.PersistentVolumeClaim.ClaimName]; p.quiet && claim == nil {
			return fmt.Errorf("made without its claim")
		}
	}
	if !inRange(set, ordinal(new)) {
		return fmt.Errorf("made beyond the range")
	}
	if set.Spec.PodManagementPolicy == appsv1.ParallelPodManagement || !p.quiet {
		return nil
	}
	for below := first(set); below < ordinal(new); below++ {
		if each := p.there[podName(set, below)]; each == nil || p.unavailable(set, each) {
			return fmt.Errorf("made before %s is available", podName(set, below))
		}
	}
	return nil
}

func (p *play) unavailable(set *appsv1.StatefulSet, each *corev1.Pod) bool {
	return each.DeletionTimestamp != nil || !pod.Available(each, set.Spec.MinReadySeconds, time.Now())
}

func (p *play) deleted(set *appsv1.StatefulSet, old *corev1.Pod) error {
	number := ordinal(old)
	seen := p.seenPods[old.Name]
	switch {
	case pod.Terminal(old):
	case number < first(set):
		return fmt.Errorf("deleted below the range")
	case !inRange(set, number):
		if scaled, _ := retention(set); scaled == "Delete" && len(old.Spec.Volumes) > 0 && p.quiet {
			if c := p.claimed[old.Spec.Volumes[0].PersistentVolumeClaim.ClaimName]; c != nil && !owns(old, c) {
				return fmt.Errorf("its claim does not go with it: %v", c.OwnerReferences)
			}
		}
		for name := range maps.Keys(p.there) {
			if _, other := split(name); other > number && p.quiet && set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
				return fmt.Errorf("scaled down before %s", name)
			}
		}
	case number-first(set) < partition(set):
		return fmt.Errorf("updated below the partition")
	case p.quiet && seen != nil && !p.unavailable(set, seen):
		without := 0
		for i := range wish(set) {
			if each := p.there[podName(set, first(set)+i)]; each == nil || each.Name == old.Name || p.unavailable(set, each) {
				without++
			}
		}
		if without > maxUnavailable(set) {
			return fmt.Errorf("an update leaves %d of %d without an available pod, at most %d may be", without, wish(set), maxUnavailable(set))
		}
	}
	return nil
}

// settle lets everything come to rest, and looks whether it is as wished.
func (p *play) settle() {
	p.Odds = sim.Odds{}
	p.quiet = false // what others did may still ask for repairs
	var last error
	for range 600 {
		p.Deliver(true)
		last = p.reconcile()
		for range 4 {
			p.nodes(true)
		}
		for _, each := range p.pods.List() { // for the failed ones of them an ordered set would wait, as upstream's
			if pod.Terminal(each) && !inRange(p.set(), ordinal(each)) {
				p.pods.Remove(each)
			}
		}
		p.collect()
		time.Sleep(time.Second)
	}
	if err := p.Err(); err != nil {
		p.t.Fatal(err)
	}
	if err := p.settled(); err != nil {
		p.t.Fatalf("%v; the last reconcile said: %v", err, last)
	}
}

func (p *play) settled() error {
	set := p.set()
	revisions := p.revisions.List()
	history.Sort(revisions)
	newest := revisions[len(revisions)-1]
	if data, err := history.Data(&set.Spec.Template); err != nil || string(newest.Data.Raw) != string(data) {
		return fmt.Errorf("the newest revision is not the template's: %v %s", err, newest.Data.Raw)
	}
	pods := p.pods.List()
	if len(pods) != wish(set) {
		return fmt.Errorf("%d pods, want %d", len(pods), wish(set))
	}
	live := map[string]bool{set.Status.CurrentRevision: true, newest.Name: true}
	for _, each := range pods {
		number := ordinal(each)
		live[revisionOf(each)] = true
		switch {
		case !inRange(set, number) || !identified(set, each) || !stored(set, each) || !metav1.IsControlledBy(each, set):
			return fmt.Errorf("pod %s is not itself: %v", each.Name, each.ObjectMeta)
		case p.unavailable(set, each):
			return fmt.Errorf("pod %s is not available", each.Name)
		case number-first(set) >= partition(set) && revisionOf(each) != newest.Name:
			return fmt.Errorf("pod %s is of %s, want %s", each.Name, revisionOf(each), newest.Name)
		}
	}
	if unused := len(revisions) - len(live); unused > int(*set.Spec.RevisionHistoryLimit) {
		return fmt.Errorf("%d unused revisions are kept", unused)
	}
	if s, n := set.Status, int32(wish(set)); s.Replicas != n || s.ReadyReplicas != n || s.AvailableReplicas != n || s.UpdateRevision != newest.Name || s.ObservedGeneration != set.Generation {
		return fmt.Errorf("the status is %+v", s)
	}
	return p.settledClaims(set)
}

func (p *play) settledClaims(set *appsv1.StatefulSet) error {
	if len(set.Spec.VolumeClaimTemplates) == 0 {
		return nil
	}
	_, deleted := retention(set)
	for i := range wish(set) {
		name := claimName(set, "data", first(set)+i)
		claim := p.claimed[name]
		if claim == nil {
			return fmt.Errorf("claim %s is missing", name)
		}
		if owners := len(claim.OwnerReferences); (deleted == "Delete") != (owners == 1 && claim.OwnerReferences[0].UID == set.UID) || deleted == "Retain" && owners > 0 {
			return fmt.Errorf("claim %s has the owners %v, with %s on deletion", name, claim.OwnerReferences, deleted)
		}
	}
	return nil
}
