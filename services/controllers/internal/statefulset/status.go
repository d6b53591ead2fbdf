package statefulset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/controllers/internal/pod"
)

// status counts the set's pods. current and update are names of revisions. When all
// replicas are ready and of the update revision, that becomes the current one.
func status(set *appsv1.StatefulSet, current, update string, collisions int32, pods []*corev1.Pod, now time.Time) appsv1.StatefulSetStatus {
	next := appsv1.StatefulSetStatus{
		ObservedGeneration: set.Generation,
		CurrentRevision:    current,
		UpdateRevision:     update,
		CollisionCount:     &collisions,
		Conditions:         set.Status.Conditions,
	}
	for _, p := range pods {
		if ordinal(p) < 0 || !made(p) {
			continue
		}
		next.Replicas++
		if p.Status.Phase == corev1.PodRunning && pod.Ready(p) {
			next.ReadyReplicas++
			if pod.Available(p, set.Spec.MinReadySeconds, now) {
				next.AvailableReplicas++
			}
		}
		if p.DeletionTimestamp != nil {
			continue
		}
		if revisionOf(p) == current {
			next.CurrentReplicas++
		}
		if revisionOf(p) == update {
			next.UpdatedReplicas++
		}
	}
	if all := int32(wish(set)); next.UpdatedReplicas == all && next.ReadyReplicas == all && next.Replicas == all {
		next.CurrentReplicas, next.CurrentRevision = next.UpdatedReplicas, next.UpdateRevision
	}
	return next
}
