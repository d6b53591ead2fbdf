package eviction

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	scheduling "k8s.io/component-helpers/scheduling/corev1"

	"kubus.dev/services/agent/internal/static"
)

// Use is what something takes of a resource, by the resource.
type Use map[corev1.ResourceName]int64

// Add adds what something else takes.
func (u Use) Add(other Use) {
	for name, n := range other {
		u[name] += n
	}
}

// Usage is what a pod takes.
type Usage struct {
	Pod        Use
	Containers []ContainerUse   // those that run
	Volumes    map[string]int64 // bytes on the disk of emptyDir volumes, by name
}

// ContainerUse is what a container takes, by the container's name.
type ContainerUse struct {
	Name string
	Use
}

// systemCritical is the least priority of pods that a cluster depends on
// (scheduling.SystemCriticalPriority).
const systemCritical = 2_000_000_000

// Critical tells whether a pod is never evicted: the cluster depends on it, or it is not the API's.
func Critical(pod *corev1.Pod) bool {
	return static.Is(pod) || static.IsMirror(pod) || pod.Spec.Priority != nil && *pod.Spec.Priority >= systemCritical
}

// Rank orders pods, the one that is to end first at the head: those of which nothing is known;
// those that take more of what is short than they ask for; the less important ones; those that
// take most beyond what they ask for. Nobody can ask for process ids: there the less important
// ones come first, and of these those with most processes.
func Rank(pods []*corev1.Pod, short corev1.ResourceName, usage func(*corev1.Pod) *Usage) []*corev1.Pod {
	type candidate struct {
		pod            *corev1.Pod
		known, exceeds bool
		beyond         int64
		priority       int32
	}
	list := make([]candidate, 0, len(pods))
	for _, pod := range pods {
		c := candidate{pod: pod, priority: scheduling.PodPriority(pod)}
		if u := usage(pod); u != nil {
			requested := requests(pod, short)
			c.known, c.beyond, c.exceeds = true, u.Pod[short]-requested, u.Pod[short] > requested || short == PIDs
		}
		list = append(list, c)
	}
	slices.SortStableFunc(list, func(a, b candidate) int {
		return cmp.Or(first(!a.known, !b.known), first(a.exceeds, b.exceeds), cmp.Compare(a.priority, b.priority), cmp.Compare(b.beyond, a.beyond))
	})
	out := make([]*corev1.Pod, len(list))
	for i := range list {
		out[i] = list[i].pod
	}
	return out
}

func requests(pod *corev1.Pod, name corev1.ResourceName) int64 {
	q := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})[name]
	return q.Value()
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
