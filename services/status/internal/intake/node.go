package intake

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mergeNode is the status a node should have given what its agent says. What others
// own stays: conditions and addresses of types the agent does not tell of,
// resources it does not know, attached volumes. changed is false when nothing
// but the times of heartbeats differs.
func mergeNode(present, reported corev1.NodeStatus, now time.Time) (next corev1.NodeStatus, changed bool) {
	next = *reported.DeepCopy()
	next.Conditions = mergeNodeConditions(present.Conditions, reported.Conditions, now)
	next.Addresses = mergeAddresses(present.Addresses, reported.Addresses)
	next.Capacity = mergeResources(present.Capacity, reported.Capacity)
	next.Allocatable = mergeResources(present.Allocatable, reported.Allocatable)
	next.VolumesAttached, next.Config = present.VolumesAttached, present.Config
	if next.VolumesInUse == nil {
		next.VolumesInUse = present.VolumesInUse
	}
	if next.Phase == "" {
		next.Phase = present.Phase
	}
	return next, !equality.Semantic.DeepEqual(withoutHeartbeats(present), withoutHeartbeats(next))
}

func withoutHeartbeats(status corev1.NodeStatus) corev1.NodeStatus {
	status.Conditions = slices.Clone(status.Conditions)
	for i := range status.Conditions {
		status.Conditions[i].LastHeartbeatTime = metav1.Time{}
	}
	return status
}

func mergeNodeConditions(present, reported []corev1.NodeCondition, now time.Time) []corev1.NodeCondition {
	next := slices.Clone(present)
	for _, condition := range reported {
		if condition.LastHeartbeatTime.IsZero() {
			condition.LastHeartbeatTime = metav1.NewTime(now)
		}
		if condition.LastTransitionTime.IsZero() {
			condition.LastTransitionTime = metav1.NewTime(now)
		}
		i := slices.IndexFunc(next, func(c corev1.NodeCondition) bool { return c.Type == condition.Type })
		if i < 0 {
			next = append(next, condition)
			continue
		}
		if next[i].Status == condition.Status {
			condition.LastTransitionTime = next[i].LastTransitionTime
		}
		next[i] = condition
	}
	return next
}

func mergeAddresses(present, reported []corev1.NodeAddress) []corev1.NodeAddress {
	if len(reported) == 0 {
		return present
	}
	next := slices.Clone(reported)
	for _, address := range present {
		if !slices.ContainsFunc(reported, func(a corev1.NodeAddress) bool { return a.Type == address.Type }) {
			next = append(next, address)
		}
	}
	return next
}

func mergeResources(present, reported corev1.ResourceList) corev1.ResourceList {
	next := maps.Clone(present)
	if next == nil {
		next = corev1.ResourceList{}
	}
	maps.Copy(next, reported)
	return next
}

// missing is the labels or annotations that the agent tells of and the node
// does not have so.
func missing(present, reported map[string]string) map[string]string {
	add := map[string]string{}
	for key, value := range reported {
		if has, found := present[key]; !found || has != value {
			add[key] = value
		}
	}
	return add
}
