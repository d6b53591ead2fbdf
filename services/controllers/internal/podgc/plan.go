package podgc

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/controllers/internal/pod"
)

// removal is a pod that is to go, in one or two writes.
type removal struct {
	Pod       *corev1.Pod
	Mark      bool                 // phase Failed is written first: nobody else would
	Condition *corev1.PodCondition // written with the phase
	Delete    bool                 // false: it was told to go at once before and waits for its finalizers
}

// nodeless is the condition of a pod whose node is gone.
func nodeless(p *corev1.Pod) *corev1.PodCondition {
	return &corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC",
		Message: "PodGC: node no longer exists", ObservedGeneration: p.Generation,
	}
}

// planNode judges the pods bound to one node, nil where there is none. Pods of a
// node that has been missing for the quarantine go; again is the rest of it. Of a
// node that is out of service and not ready go those that are terminating.
func planNode(node *corev1.Node, missing, quarantine time.Duration, pods []*corev1.Pod) (removals []removal, again time.Duration) {
	switch {
	case node == nil && missing < quarantine:
		if len(pods) > 0 {
			again = quarantine - missing
		}
	case node == nil:
		for _, p := range ordered(pods) {
			removals = add(removals, p, nodeless(p))
		}
	case outOfService(node):
		for _, p := range ordered(pods) {
			if p.DeletionTimestamp != nil {
				removals = add(removals, p, nil)
			}
		}
	}
	return removals, again
}

// planUnscheduled judges one pod: bound to no node and being deleted, it has nobody
// who would end it.
func planUnscheduled(p *corev1.Pod) []removal {
	if p == nil || p.Spec.NodeName != "" || p.DeletionTimestamp == nil {
		return nil
	}
	return add(nil, p, nil)
}

// planTerminated gives the finished pods beyond threshold: evicted ones first, then
// the oldest. No threshold, no bound.
func planTerminated(pods []*corev1.Pod, threshold int) (removals []removal) {
	if threshold <= 0 {
		return nil
	}
	var finished []*corev1.Pod
	for _, p := range pods {
		if pod.Terminal(p) {
			finished = append(finished, p)
		}
	}
	if len(finished) <= threshold {
		return nil
	}
	for _, p := range ordered(finished)[:len(finished)-threshold] {
		removals = add(removals, p, nil)
	}
	return removals
}

// add adds what is left to be done until p is gone, if anything is.
func add(to []removal, p *corev1.Pod, condition *corev1.PodCondition) []removal {
	r := removal{Pod: p, Mark: !pod.Terminal(p), Delete: !told(p)}
	if r.Mark {
		r.Condition = condition
	}
	if !r.Mark && !r.Delete {
		return to
	}
	return append(to, r)
}

// told is true of a pod that was deleted without a grace period.
func told(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil && *p.DeletionGracePeriodSeconds == 0
}

func outOfService(node *corev1.Node) bool {
	ready := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	return !ready && slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
		return t.Key == corev1.TaintNodeOutOfService
	})
}

func ordered(pods []*corev1.Pod) []*corev1.Pod {
	return slices.SortedFunc(slices.Values(pods), func(a, b *corev1.Pod) int {
		if x, y := evicted(a), evicted(b); x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
}

func evicted(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed && p.Status.Reason == "Evicted"
}
