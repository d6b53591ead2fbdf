package statefulset

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/controllers/internal/history"
	"kubus.dev/services/controllers/internal/pod"
)

// observed is the world a plan is made from. Nothing in it is modified.
type observed struct {
	Set             *appsv1.StatefulSet
	Current, Update *appsv1.ControllerRevision // which ordinals below and from the partition on are made of
	Pods            []*corev1.Pod              // that the set controls, in any order
	Claims          claims                     // of all ordinals there are and should be
}

// plan is one step towards what is wished, to be written in this order.
type plan struct {
	Pods   []step                          // what the wished ordinals lack
	Owners []*corev1.PersistentVolumeClaim // of pods that are to go
	Retire []*corev1.Pod                   // to be deleted, but only once all of the above is written
	Events []note
}

// step is what one pod needs: claims, the write itself, then the claims' owners.
type step struct {
	Pod     *corev1.Pod
	Write   verb
	Told    verb // how events speak of it; none for what is not worth one
	Claims  []*corev1.PersistentVolumeClaim
	Owners  []*corev1.PersistentVolumeClaim
	Blocked error // known to stand in the way of the write
}

func (s *step) empty() bool {
	return s.Write == none && len(s.Claims) == 0 && len(s.Owners) == 0 && s.Blocked == nil
}

type verb string

const (
	none   verb = ""
	create verb = "create"
	update verb = "update"
	remove verb = "delete"
)

// note is an event about the set, always a warning.
type note struct{ Reason, Message string }

// none tells that the plan has nothing to write.
func (p *plan) none() bool { return len(p.Pods) == 0 && len(p.Owners) == 0 && len(p.Retire) == 0 }

// decide is the whole controller: upstream's updateStatefulSet as a pure function.
// Only a revision that is no template is an error.
func decide(o observed, now time.Time) (plan, error) {
	p := planner{observed: o, now: now}
	switch {
	case o.Set.DeletionTimestamp != nil:
		return p.out, nil
	case o.Set.Spec.UpdateStrategy.Type == recreateStrategy:
		err := errRecreate(o.Set)
		p.warn("UnknownStrategy", err.Error())
		return p.out, err
	}
	if err := p.arrange(); err != nil {
		return p.out, err
	}
	if p.replicate() {
		p.handOver()
		if p.shrink() {
			p.roll()
		}
	}
	return p.out, nil
}

// planner walks through the pods in upstream's order. A stage tells whether the next
// one may begin: always in a parallel set, in an ordered one not before there is
// nothing left to do or to wait for.
type planner struct {
	observed
	now       time.Time
	replicas  []*corev1.Pod // by ordinal from the first on; those that do not exist are as they are to be made
	condemned []*corev1.Pod // beyond the range, highest ordinal first
	unhealthy *corev1.Pod   // the lowest unavailable one
	out       plan
}

func (p *planner) ordered() bool {
	return p.Set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
}

// arrange sorts the pods and drafts those that are missing.
func (p *planner) arrange() error {
	p.replicas = make([]*corev1.Pod, wish(p.Set))
	for _, each := range p.Pods {
		switch number := ordinal(each); {
		case inRange(p.Set, number):
			slot := &p.replicas[number-first(p.Set)]
			if *slot == nil || each.Name == podName(p.Set, number) { // web-01 has an ordinal too
				*slot = each
			}
		case number >= 0:
			p.condemned = append(p.condemned, each)
		}
	}
	slices.SortFunc(p.condemned, func(a, b *corev1.Pod) int { return ordinal(b) - ordinal(a) })
	if err := p.draft(); err != nil {
		return err
	}
	for _, each := range p.replicas {
		if p.unhealthy == nil && p.unavailable(each) {
			p.unhealthy = each
		}
	}
	for _, each := range slices.Backward(p.condemned) {
		if p.unhealthy == nil && p.unavailable(each) {
			p.unhealthy = each
		}
	}
	return nil
}

// draft fills the gaps with pods of the revision that their ordinals are to have.
func (p *planner) draft() error {
	templates := map[*appsv1.ControllerRevision]*corev1.PodTemplateSpec{}
	for i := range p.replicas {
		if p.replicas[i] != nil {
			continue
		}
		revision := p.Update
		if p.keepsCurrent(i) {
			revision = p.Current
		}
		if templates[revision] == nil {
			template, err := history.Template(revision)
			if err != nil {
				return err
			}
			templates[revision] = template
		}
		p.replicas[i] = newPod(p.Set, templates[revision], revision.Name, first(p.Set)+i)
	}
	return nil
}

// keepsCurrent: a replica that is made anew is made of the current revision below
// the partition, and without one as long as there were that many.
func (p *planner) keepsCurrent(replica int) bool {
	strategy := &p.Set.Spec.UpdateStrategy
	if strategy.RollingUpdate == nil {
		return strategy.Type == appsv1.RollingUpdateStatefulSetStrategyType && replica < int(p.Set.Status.CurrentReplicas)
	}
	return replica < partition(p.Set)
}

// replicate brings each ordinal to life, lowest first.
func (p *planner) replicate() bool {
	for _, each := range p.replicas {
		if wait := p.tend(each); wait && p.ordered() {
			return false
		}
	}
	return true
}

// tend is what one replica needs; wait is true while an ordered set may not go on.
func (p *planner) tend(each *corev1.Pod) (wait bool) {
	if pod.Terminal(each) { // succeeded ones too: how an evicted pod ends is up to its containers
		if each.DeletionTimestamp == nil {
			p.add(step{Pod: each, Write: remove, Told: remove})
		}
		return true
	}
	if !made(each) {
		if p.Claims.stale(p.Set, each) {
			return true
		}
		next := step{Pod: each, Write: create, Told: create}
		next.Claims, next.Blocked = p.Claims.missing(p.Set, each)
		next.Owners = p.misowned(each)
		p.add(next)
		return true
	}
	next := step{Pod: each}
	if each.Status.Phase == corev1.PodPending {
		next.Claims, next.Blocked = p.Claims.missing(p.Set, each)
		next.Owners = p.misowned(each)
	}
	if p.ordered() && (each.DeletionTimestamp != nil || !p.ready(each) || !p.available(each)) {
		p.add(next)
		return true
	}
	p.mend(&next)
	p.add(next)
	return false
}

func (p *planner) add(next step) {
	if !next.empty() {
		p.out.Pods = append(p.out.Pods, next)
	}
}

// mend brings a pod's labels, volumes and claims back to what its ordinal says.
func (p *planner) mend(next *step) {
	each := next.Pod
	if !identified(p.Set, each) || !stored(p.Set, each) {
		next.Pod = each.DeepCopy()
		identify(p.Set, next.Pod)
		if !stored(p.Set, each) {
			store(p.Set, next.Pod)
			next.Claims, next.Blocked = p.Claims.missing(p.Set, each)
		}
		next.Write, next.Told = update, update
	}
	if next.Owners == nil {
		if next.Owners = p.reown(each); next.Owners != nil {
			next.Told = update
		}
	}
}

// misowned are the claims whose owners change; of conflicts an event tells.
func (p *planner) misowned(each *corev1.Pod) []*corev1.PersistentVolumeClaim {
	change, conflicts := p.Claims.misowned(p.Set, each)
	for _, name := range conflicts {
		p.warn("ConflictingController", fmt.Sprintf(
			"PersistentVolumeClaim %s has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim", name))
	}
	return change
}

// reown is misowned where conflicts are worth telling only if something changes.
func (p *planner) reown(each *corev1.Pod) []*corev1.PersistentVolumeClaim {
	if change, _ := p.Claims.misowned(p.Set, each); change == nil {
		return nil
	}
	return p.misowned(each)
}

func (p *planner) warn(reason, message string) {
	p.out.Events = append(p.out.Events, note{reason, message})
}

// handOver gives the claims of condemned pods the owners they are to have before
// the pods go.
func (p *planner) handOver() {
	for _, each := range p.condemned {
		p.out.Owners = append(p.out.Owners, p.reown(each)...)
	}
}

// shrink deletes the condemned: all at once, or from an ordered set the highest one,
// when all others are healthy or it is itself the one that is not.
func (p *planner) shrink() bool {
	for _, each := range p.condemned {
		switch {
		case each.DeletionTimestamp != nil:
		case p.ordered() && each != p.unhealthy && (!p.ready(each) || !p.available(each)):
		default:
			p.out.Retire = append(p.out.Retire, each)
		}
		if p.ordered() {
			return false
		}
	}
	return true
}

// made tells a pod of the API's from a draft.
func made(p *corev1.Pod) bool { return p.Status.Phase != "" }

func (p *planner) ready(each *corev1.Pod) bool {
	return each.Status.Phase == corev1.PodRunning && pod.Ready(each)
}

func (p *planner) available(each *corev1.Pod) bool {
	return pod.Available(each, p.Set.Spec.MinReadySeconds, p.now)
}

func (p *planner) unavailable(each *corev1.Pod) bool {
	return !p.available(each) || each.DeletionTimestamp != nil
}
