package daemonset

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"

	"kubus.dev/services/controllers/internal/pod"
)

// observed is the world a plan is made from. Nothing in it is modified.
type observed struct {
	Set   *appsv1.DaemonSet
	Hash  string // of the present template's revision
	Nodes []*corev1.Node
	Pods  []*corev1.Pod // that the set controls, in any order
	// Wait is how long a failed pod on a node is still to be left alone.
	Wait func(node string) time.Duration
}

// plan is one step towards what is wished.
type plan struct {
	Create []string // nodes that get a pod
	Delete []*corev1.Pod
	Failed []string // nodes whose failed pod is deleted, for the back-off
	Events []note
	Again  time.Duration // until a failed pod's turn comes; zero for never
}

type note struct {
	Warning         bool
	Reason, Message string
}

func (p *plan) none() bool { return len(p.Create) == 0 && len(p.Delete) == 0 }

// decide is the whole controller: what each node lacks or has too much, and when
// that is settled, the next step of a rolling update.
func decide(o observed, now time.Time) plan {
	p := newPlanner(o, now)
	p.manage()
	if p.out.none() && o.Set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		p.roll()
	}
	return p.out
}

type planner struct {
	observed
	now    time.Time
	place  *placement
	byName map[string]*corev1.Node
	names  []string                 // of the nodes, in order
	pods   map[string][]*corev1.Pod // by node, as oldest has them
	out    plan
}

func newPlanner(o observed, now time.Time) *planner {
	p := &planner{observed: o, now: now, place: placementOf(o.Set), byName: make(map[string]*corev1.Node, len(o.Nodes)), pods: onNodes(o.Pods)}
	for _, node := range o.Nodes {
		p.byName[node.Name] = node
	}
	p.names = slices.Sorted(maps.Keys(p.byName))
	return p
}

// onNodes sorts pods by the node they are meant for. Those that are done and on
// their way out are nobody's concern any more.
func onNodes(pods []*corev1.Pod) map[string][]*corev1.Pod {
	out := map[string][]*corev1.Pod{}
	for _, each := range pods {
		node := target(each)
		if node == "" || pod.Terminal(each) && each.DeletionTimestamp != nil {
			continue
		}
		out[node] = append(out[node], each)
	}
	for _, there := range out {
		slices.SortFunc(there, oldest)
	}
	return out
}

// oldest orders pods: bound ones first, then by age, then by name.
func oldest(a, b *corev1.Pod) int {
	if bound := a.Spec.NodeName != ""; bound != (b.Spec.NodeName != "") {
		if bound {
			return -1
		}
		return 1
	}
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// manage gives each node the pods it should have.
func (p *planner) manage() {
	for _, name := range p.names {
		run, stay := p.place.on(p.byName[name])
		there := p.pods[name]
		switch {
		case run && len(there) == 0:
			p.out.Create = append(p.out.Create, name)
		case stay:
			p.prune(name, p.working(name, there), run)
		default:
			p.remove(there...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.pods)) {
		if p.byName[name] != nil {
			continue
		}
		for _, each := range p.pods[name] { // bound ones are the pod garbage collector's
			if each.Spec.NodeName == "" {
				p.remove(each)
			}
		}
	}
}

// working are the node's pods that run or may come to run. The others are deleted,
// failed ones with back-off: it may be the node that does not want them.
func (p *planner) working(node string, there []*corev1.Pod) (out []*corev1.Pod) {
	for _, each := range there {
		switch {
		case each.DeletionTimestamp != nil:
		case each.Status.Phase == corev1.PodFailed:
			if wait := p.wait(node); wait > 0 {
				p.again(wait)
				continue
			}
			p.out.Failed = append(p.out.Failed, node)
			p.tell(true, "FailedDaemonPod", fmt.Sprintf("Found failed daemon pod %s/%s on node %s, will try to kill it", each.Namespace, each.Name, node))
			p.remove(each)
		case each.Status.Phase == corev1.PodSucceeded:
			p.tell(false, "SucceededDaemonPod", fmt.Sprintf("Found succeeded daemon pod %s/%s on node %s, will try to delete it", each.Namespace, each.Name, node))
			p.remove(each)
		default:
			out = append(out, each)
		}
	}
	return out
}

// wait lets one failed pod of a node go at a time.
func (p *planner) wait(node string) time.Duration {
	if slices.Contains(p.out.Failed, node) {
		return firstDelay
	}
	return p.Wait(node)
}

// prune leaves the oldest of the node's working pods. A set that surges may have an
// old and a new one, as long as the old one is ready and the new one not available.
func (p *planner) prune(node string, working []*corev1.Pod, run bool) {
	switch {
	case !surges(p.Set):
		if len(working) > 1 {
			p.remove(working[1:]...)
		}
		return
	case len(working) == 0 && run:
		p.out.Create = append(p.out.Create, node)
		return
	case len(working) < 2:
		return
	}
	var fresh, old *corev1.Pod
	for _, each := range working {
		slot := &old
		if each.Labels[hashLabel] == p.Hash {
			slot = &fresh
		}
		if *slot != nil {
			p.remove(each)
			continue
		}
		*slot = each
	}
	if fresh != nil && old != nil && (!pod.Ready(old) || p.available(fresh)) {
		p.remove(old)
	}
}

// remove deletes those that are not being deleted.
func (p *planner) remove(pods ...*corev1.Pod) {
	for _, each := range pods {
		if each.DeletionTimestamp == nil {
			p.out.Delete = append(p.out.Delete, each)
		}
	}
}

func (p *planner) tell(warning bool, reason, message string) {
	p.out.Events = append(p.out.Events, note{warning, reason, message})
}

func (p *planner) again(wait time.Duration) {
	if p.out.Again == 0 || wait < p.out.Again {
		p.out.Again = wait
	}
}

func (p *planner) available(each *corev1.Pod) bool {
	return pod.Available(each, p.Set.Spec.MinReadySeconds, p.now)
}

// updated: the pod is of the present template, by its revision's hash or by the
// generation that releases before revisions counted.
func updated(set *appsv1.DaemonSet, hash string, each *corev1.Pod) bool {
	if hash != "" && each.Labels[hashLabel] == hash {
		return true
	}
	generation, ok := templateGeneration(set)
	return ok && each.Labels[extensionsv1beta1.DaemonSetTemplateGenerationKey] == generation
}

// templateGeneration is that of the deprecated annotation, if it is a number.
func templateGeneration(set *appsv1.DaemonSet) (string, bool) {
	number, err := strconv.ParseInt(set.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	return strconv.FormatInt(number, 10), err == nil
}
