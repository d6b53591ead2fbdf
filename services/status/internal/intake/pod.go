package intake

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// mergePod is the status a pod should have given what its agent says. The agent
// owns it but for what others write there: their conditions, the scheduler's
// PodScheduled and nomination, claims. changed is false when nothing differs.
func mergePod(present, reported corev1.PodStatus) (next corev1.PodStatus, changed bool) {
	if terminal(present.Phase) && !terminal(reported.Phase) {
		return present, false // a report from before the end
	}
	next = *reported.DeepCopy()
	next.Conditions = mergePodConditions(present.Conditions, reported.Conditions)
	next.NominatedNodeName = present.NominatedNodeName
	if present.QOSClass != "" { // it follows from the spec, and never changes
		next.QOSClass = present.QOSClass
	}
	if next.StartTime == nil {
		next.StartTime = present.StartTime
	}
	next.ResourceClaimStatuses = present.ResourceClaimStatuses
	if next.EphemeralContainerStatuses == nil {
		next.EphemeralContainerStatuses = present.EphemeralContainerStatuses
	}
	return next, !equality.Semantic.DeepEqual(present, next)
}

func terminal(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// comesAndGoes tells of conditions that only the node writes, and takes away. They are true while they are there, so
// their time is that of their reason, which the node knows.
func comesAndGoes(t corev1.PodConditionType) bool {
	return t == corev1.PodResizePending || t == corev1.PodResizeInProgress
}

func mergePodConditions(present, reported []corev1.PodCondition) []corev1.PodCondition {
	next := slices.DeleteFunc(slices.Clone(present), func(c corev1.PodCondition) bool {
		return comesAndGoes(c.Type) && !slices.ContainsFunc(reported, func(r corev1.PodCondition) bool { return r.Type == c.Type })
	})
	for _, condition := range reported {
		i := slices.IndexFunc(next, func(c corev1.PodCondition) bool { return c.Type == condition.Type })
		switch {
		case i < 0:
			next = append(next, condition)
		case condition.Type == corev1.PodScheduled && condition.Status != corev1.ConditionTrue: // not the node's to say
		default:
			if next[i].Status == condition.Status && !comesAndGoes(condition.Type) {
				condition.LastTransitionTime = next[i].LastTransitionTime
			}
			next[i] = condition
		}
	}
	return next
}
