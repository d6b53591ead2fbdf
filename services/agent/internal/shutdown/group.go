// Package shutdown says in which order, and how fast, pods end when their node does: those of lower priority first, each
// within the time that its group has. It decides alone and asks nobody.
//
// Source: pkg/kubelet/nodeshutdown of Kubernetes.
package shutdown

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// critical is the lowest priority of pods that a node or the cluster needs.
const critical = 2_000_000_000

// Period is what pods of a priority, and of those above it up to the next, get to end.
type Period struct {
	Priority int32
	Grace    time.Duration
}

// Periods are kubelet's two: all of total for everything, the last part of it for critical pods alone. None when total is
// nothing.
func Periods(total, ofCritical time.Duration) []Period {
	if total <= 0 {
		return nil
	}
	return []Period{{0, total - ofCritical}, {critical, ofCritical}}
}

// Check tells what is wrong with two such durations.
func Check(total, ofCritical time.Duration) error {
	switch {
	case total < 0 || ofCritical < 0:
		return fmt.Errorf("must not be negative")
	case ofCritical > total:
		return fmt.Errorf("%s for critical pods must not be more than %s for all", ofCritical, total)
	case total > 0 && total < time.Second || ofCritical > 0 && ofCritical < time.Second:
		return fmt.Errorf("must be either zero or at least a second")
	}
	return nil
}

// Total is how long all groups may take together.
func Total(periods []Period) (sum time.Duration) {
	for _, p := range periods {
		sum += p.Grace
	}
	return sum
}

// Group is pods that end at the same time.
type Group struct {
	Pods  []*corev1.Pod
	Bound time.Duration // no container gets more
}

// Groups divides pods by their priorities, the lowest first; groups without pods are left out. Pods below all periods
// belong to the lowest.
func Groups(pods []*corev1.Pod, periods []Period) []Group {
	periods = slices.Clone(periods)
	slices.SortStableFunc(periods, func(a, b Period) int { return cmp.Compare(a.Priority, b.Priority) })
	groups := make([]Group, len(periods))
	for i, p := range periods {
		groups[i].Bound = p.Grace
	}
	if len(groups) == 0 {
		return nil
	}
	for _, pod := range pods {
		at := 0
		for i, p := range periods {
			if priority(pod) >= p.Priority {
				at = i
			}
		}
		groups[at].Pods = append(groups[at].Pods, pod)
	}
	return slices.DeleteFunc(groups, func(g Group) bool { return len(g.Pods) == 0 })
}

func priority(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}
