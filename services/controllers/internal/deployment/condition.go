package deployment

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of conditions and events, as upstream's kubectl and users know them.
const (
	reasonSetUpdated     = "ReplicaSetUpdated"
	reasonSetCreateError = "ReplicaSetCreateError"
	reasonNewSet         = "NewReplicaSetCreated"
	reasonFoundSet       = "FoundNewReplicaSet"
	reasonAvailable      = "NewReplicaSetAvailable"
	reasonTimedOut       = "ProgressDeadlineExceeded"
	reasonPaused         = "DeploymentPaused"
	reasonResumed        = "DeploymentResumed"

	reasonMinimumAvailable   = "MinimumReplicasAvailable"
	reasonMinimumUnavailable = "MinimumReplicasUnavailable"

	reasonScaling           = "ScalingReplicaSet"
	reasonRollback          = "DeploymentRollback"
	reasonRevisionNotFound  = "DeploymentRollbackRevisionNotFound"
	reasonTemplateUnchanged = "DeploymentRollbackTemplateUnchanged"
)

func condition(status *appsv1.DeploymentStatus, of appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range status.Conditions {
		if status.Conditions[i].Type == of {
			return &status.Conditions[i]
		}
	}
	return nil
}

func newCondition(of appsv1.DeploymentConditionType, value corev1.ConditionStatus, reason, message string, now time.Time) appsv1.DeploymentCondition {
	return appsv1.DeploymentCondition{
		Type: of, Status: value, Reason: reason, Message: message,
		LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
	}
}

// setCondition leaves a condition of the same status and reason as it is, and
// keeps the time of transition of one of the same status.
func setCondition(status *appsv1.DeploymentStatus, next appsv1.DeploymentCondition) {
	present := condition(status, next.Type)
	if present != nil && present.Status == next.Status {
		if present.Reason == next.Reason {
			return
		}
		next.LastTransitionTime = present.LastTransitionTime
	}
	removeCondition(status, next.Type)
	status.Conditions = append(status.Conditions, next)
}

func removeCondition(status *appsv1.DeploymentStatus, of appsv1.DeploymentConditionType) {
	var rest []appsv1.DeploymentCondition
	for _, c := range status.Conditions {
		if c.Type != of {
			rest = append(rest, c)
		}
	}
	status.Conditions = rest
}

// statusOf counts the sets and judges the minimum availability.
func statusOf(d *appsv1.Deployment, all []*appsv1.ReplicaSet, newest *appsv1.ReplicaSet, now time.Time) appsv1.DeploymentStatus {
	ready := available(all)
	status := appsv1.DeploymentStatus{
		ObservedGeneration:  d.Generation,
		Replicas:            sum(all, func(set *appsv1.ReplicaSet) int32 { return set.Status.Replicas }),
		ReadyReplicas:       sum(all, func(set *appsv1.ReplicaSet) int32 { return set.Status.ReadyReplicas }),
		AvailableReplicas:   ready,
		UnavailableReplicas: max(0, wished(all)-ready),
		TerminatingReplicas: terminating(all),
		CollisionCount:      d.Status.CollisionCount,
	}
	if newest != nil {
		status.UpdatedReplicas = newest.Status.Replicas
	}
	status.Conditions = append(status.Conditions, d.Status.Conditions...)
	if ready >= *d.Spec.Replicas-maxUnavailable(d) {
		setCondition(&status, newCondition(appsv1.DeploymentAvailable, corev1.ConditionTrue, reasonMinimumAvailable, "Deployment has minimum availability.", now))
	} else {
		setCondition(&status, newCondition(appsv1.DeploymentAvailable, corev1.ConditionFalse, reasonMinimumUnavailable, "Deployment does not have minimum availability.", now))
	}
	return status
}

// terminating sums the sets' counts; nil while one that has been looked at does not tell.
func terminating(sets []*appsv1.ReplicaSet) *int32 {
	total := int32(0)
	for _, set := range sets {
		switch {
		case set == nil:
		case set.Status.TerminatingReplicas != nil:
			total += *set.Status.TerminatingReplicas
		case set.Status.ObservedGeneration != 0:
			return nil
		}
	}
	return &total
}

// complete: every replica is updated and available and no old one is left.
func complete(d *appsv1.Deployment, status *appsv1.DeploymentStatus) bool {
	return status.UpdatedReplicas == *d.Spec.Replicas && status.Replicas == *d.Spec.Replicas &&
		status.AvailableReplicas == *d.Spec.Replicas && status.ObservedGeneration >= d.Generation
}

// progressing: more updated, ready or available pods than before, or fewer old ones.
func progressing(before, after *appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas || after.AvailableReplicas > before.AvailableReplicas
}

// timedOut: no progress since the deadline began to run.
func timedOut(d *appsv1.Deployment, status *appsv1.DeploymentStatus, now time.Time) bool {
	c := condition(status, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || c == nil || c.Reason == reasonAvailable || c.Reason == reasonCanaryWaits {
		return false
	}
	return c.Reason == reasonTimedOut || c.LastUpdateTime.Add(deadline(d)).Before(now)
}

func deadline(d *appsv1.Deployment) time.Duration {
	return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
}

// rolloutStatus is statusOf with the Progressing and ReplicaFailure conditions of a rollout.
func rolloutStatus(d *appsv1.Deployment, all []*appsv1.ReplicaSet, newest *appsv1.ReplicaSet, now time.Time) appsv1.DeploymentStatus {
	status := statusOf(d, all, newest, now)
	if !hasDeadline(d) {
		removeCondition(&status, appsv1.DeploymentProgressing)
	}
	current := condition(&d.Status, appsv1.DeploymentProgressing)
	subject := fmt.Sprintf("Deployment %q", d.Name)
	if newest != nil {
		subject = fmt.Sprintf("ReplicaSet %q", newest.Name)
	}
	done := subject + " has successfully progressed."
	// A status that could not be written when the set was created still tells of the one before it.
	finished := status.Replicas == status.UpdatedReplicas && current != nil && current.Reason == reasonAvailable &&
		(newest == nil || current.Message == done)
	if hasDeadline(d) && !finished {
		switch {
		case complete(d, &status):
			setCondition(&status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonAvailable, done, now))
		case progressing(&d.Status, &status):
			next := newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonSetUpdated, subject+" is progressing.", now)
			if current != nil && current.Status == corev1.ConditionTrue {
				next.LastTransitionTime = current.LastTransitionTime
			}
			removeCondition(&status, appsv1.DeploymentProgressing) // its time of update is what counts
			setCondition(&status, next)
		case timedOut(d, &status, now):
			setCondition(&status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, subject+" has timed out progressing.", now))
		}
	}
	if failure := replicaFailure(all, newest); failure != nil {
		setCondition(&status, *failure)
	} else {
		removeCondition(&status, appsv1.DeploymentReplicaFailure)
	}
	return status
}

// replicaFailure is the first failure of a set, the new one's before others.
func replicaFailure(all []*appsv1.ReplicaSet, newest *appsv1.ReplicaSet) *appsv1.DeploymentCondition {
	for _, set := range append([]*appsv1.ReplicaSet{newest}, all...) {
		if set == nil {
			continue
		}
		for _, c := range set.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				return &appsv1.DeploymentCondition{
					Type: appsv1.DeploymentConditionType(c.Type), Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastTransitionTime: c.LastTransitionTime, LastUpdateTime: c.LastTransitionTime,
				}
			}
		}
	}
	return nil
}

// deadlineCheck is when to look whether the deadline has passed; zero for never.
func deadlineCheck(d *appsv1.Deployment, status *appsv1.DeploymentStatus, now time.Time) time.Duration {
	c := condition(status, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || c == nil || complete(d, status) || c.Reason == reasonTimedOut || c.Reason == reasonAvailable || c.Reason == reasonCanaryWaits {
		return 0
	}
	return max(0, c.LastUpdateTime.Add(deadline(d)).Sub(now)) + time.Second
}
