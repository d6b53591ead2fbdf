package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/controllers/internal/pod"
)

// terminating are the set's pods that are on their way out but not done.
func terminating(set *appsv1.ReplicaSet, selector labels.Selector, pods []*corev1.Pod) int32 {
	count := int32(0)
	for _, p := range pods {
		if pod.Terminating(p) && metav1.IsControlledBy(p, set) && selector.Matches(labels.Set(p.Labels)) {
			count++
		}
	}
	return count
}

// change is what brings the number of pods to the wish. At most one of the fields is set.
type change struct {
	Create int
	Delete []*corev1.Pod
}

func (c change) none() bool { return c.Create == 0 && len(c.Delete) == 0 }

// scale compares the active pods with the wish. related are the pods of all sets
// of the same owner: among equals, the one with most of them on its node goes first.
func scale(set *appsv1.ReplicaSet, active, related []*corev1.Pod, now time.Time) change {
	if set.DeletionTimestamp != nil {
		return change{}
	}
	surplus := len(active) - int(wish(set))
	switch {
	case surplus < 0:
		return change{Create: -surplus}
	case surplus > 0:
		return change{Delete: victims(active, related, surplus, now)}
	}
	return change{}
}

// wish is spec.replicas with the API's default.
func wish(set *appsv1.ReplicaSet) int32 {
	if set.Spec.Replicas == nil {
		return 1
	}
	return *set.Spec.Replicas
}

// failure is what stood in the way of the change, for the ReplicaFailure condition.
type failure struct {
	Reason  string // FailedCreate or FailedDelete
	Message string
}

// status is the set's status given its active pods.
func status(set *appsv1.ReplicaSet, active []*corev1.Pod, terminating int32, failed *failure, now time.Time) appsv1.ReplicaSetStatus {
	next := *set.Status.DeepCopy()
	next.ObservedGeneration = set.Generation
	next.Replicas = int32(len(active))
	next.FullyLabeledReplicas, next.ReadyReplicas, next.AvailableReplicas = 0, 0, 0
	next.TerminatingReplicas = &terminating
	template := labels.Set(set.Spec.Template.Labels).AsSelectorPreValidated()
	for _, p := range active {
		if template.Matches(labels.Set(p.Labels)) {
			next.FullyLabeledReplicas++
		}
		if pod.Ready(p) {
			next.ReadyReplicas++
		}
		if pod.Available(p, set.Spec.MinReadySeconds, now) {
			next.AvailableReplicas++
		}
	}
	next.Conditions = failureCondition(next.Conditions, failed, now)
	return next
}

// failureCondition keeps the first failure as it was reported until there is none.
func failureCondition(conditions []appsv1.ReplicaSetCondition, failed *failure, now time.Time) []appsv1.ReplicaSetCondition {
	var rest []appsv1.ReplicaSetCondition
	var present bool
	for _, condition := range conditions {
		if condition.Type == appsv1.ReplicaSetReplicaFailure {
			if failed == nil {
				continue
			}
			present = true
		}
		rest = append(rest, condition)
	}
	if failed != nil && !present {
		rest = append(rest, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
			LastTransitionTime: metav1.NewTime(now), Reason: failed.Reason, Message: failed.Message,
		})
	}
	return rest
}
