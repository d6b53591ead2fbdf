package oracle

import (
	"math"

	"k8s.io/kubernetes/pkg/scheduler/framework/preemption"
)

// loss is what upstream compares nodes by (pickOneNodeForPreemption), in its order.
func loss(c preemption.Candidate) [5]int64 {
	var out [5]int64
	out[0] = c.Victims().NumPDBViolations
	highest := int64(math.MinInt64)
	for _, p := range c.Victims().Pods {
		priority := int64(0)
		if p.Spec.Priority != nil {
			priority = int64(*p.Spec.Priority)
		}
		highest = max(highest, priority)
		out[2] += priority + math.MaxInt32 + 1
	}
	out[1] = highest
	out[3] = int64(len(c.Victims().Pods))
	earliest := int64(math.MaxInt64) // of those with the highest priority
	for _, p := range c.Victims().Pods {
		if p.Status.StartTime != nil && (p.Spec.Priority == nil && highest == 0 || p.Spec.Priority != nil && int64(*p.Spec.Priority) == highest) {
			earliest = min(earliest, p.Status.StartTime.Unix())
		}
	}
	out[4] = -earliest
	return out
}
