package resourceclaim

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/controllers/internal/pod"
)

// claimPlan is what a claim needs; the steps are made in this order.
type claimPlan struct {
	Status  *resourcev1.ResourceClaimStatus // nil: stays
	Release bool                            // the finalizer goes
	Delete  bool
}

// planClaim judges the reservations of a claim. done tells of a pod that it will never
// run, or not any more.
func planClaim(claim *resourcev1.ResourceClaim, done func(resourcev1.ResourceClaimConsumerReference) bool, owner *corev1.Pod) (plan claimPlan) {
	left := []resourcev1.ResourceClaimConsumerReference{}
	for _, consumer := range claim.Status.ReservedFor {
		if consumer.APIGroup != "" || consumer.Resource != "pods" || !done(consumer) {
			left = append(left, consumer)
		}
	}
	held := slices.Contains(claim.Finalizers, resourcev1.Finalizer)
	status := claim.Status.DeepCopy()
	switch {
	case len(left) < len(claim.Status.ReservedFor):
		status.ReservedFor = left
		if len(left) == 0 && held { // the last one let go: others may have the devices
			status.Allocation = nil
		}
		plan.Status, plan.Release = status, held && status.Allocation == nil
	case held && claim.DeletionTimestamp != nil && len(left) == 0:
		if status.Allocation != nil {
			status.Allocation = nil
			plan.Status = status
		}
		plan.Release = true
	}
	reference := metav1.GetControllerOfNoCopy(claim)
	if len(left) == 0 && reference != nil && reference.Kind == "Pod" && reference.APIVersion == "v1" && owner != nil {
		plan.Delete = claim.DeletionTimestamp == nil && (owner.UID != reference.UID || finished(owner))
	}
	return plan
}

// finished pods run no container and never will.
func finished(p *corev1.Pod) bool {
	return pod.Terminal(p) || p.DeletionTimestamp != nil && p.Spec.NodeName == ""
}
