// Package expand lets volumes grow with their claims. A claim never shrinks below what its
// volume has (the API refuses it), and only a class that allows it grows (admission).
//
//	request > status ──▶ volume of class local: its node is asked ──▶ volume, then claim have the new size
//	                         │ the node says no
//	                         ▼
//	                     ControllerResizeError, tried again with back-off
//	                 ──▶ any other: an external resizer's work
//
// A folder has no file system of its own, so nothing is left to do on the node.
package expand

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	rule "kubus.dev/proto/volume"
)

// step is what is to be done for a claim.
type step int

const (
	nothing step = iota
	ask          // the node, for more
	tell         // the claim has what its volume has
	leave        // to an external resizer
)

// plan decides by the claim and its volume, nil when that is not known.
func plan(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) step {
	if claim.Status.Phase != corev1.ClaimBound || claim.DeletionTimestamp != nil || pv == nil || pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != claim.UID {
		return nothing
	}
	wished, has := rule.Request(claim), claim.Status.Capacity[corev1.ResourceStorage]
	switch local := pv.Annotations[rule.ProvisionedBy] == rule.LocalProvisioner && pv.Spec.Local != nil; {
	case wished.Cmp(has) <= 0:
		return nothing
	case !local:
		return leave
	case wished.Cmp(*pv.Spec.Capacity.Storage()) > 0:
		return ask
	}
	return tell
}

// grown is the claim's status once it has the size.
func grown(claim *corev1.PersistentVolumeClaim, size resource.Quantity) corev1.PersistentVolumeClaimStatus {
	next := *claim.Status.DeepCopy()
	next.Capacity = corev1.ResourceList{corev1.ResourceStorage: size}
	next.Conditions = without(next.Conditions)
	delete(next.AllocatedResourceStatuses, corev1.ResourceStorage)
	delete(next.AllocatedResources, corev1.ResourceStorage)
	return next
}

// stuck is the claim's status after the node said no.
func stuck(claim *corev1.PersistentVolumeClaim, why string, now metav1.Time) corev1.PersistentVolumeClaimStatus {
	next := *claim.Status.DeepCopy()
	condition := corev1.PersistentVolumeClaimCondition{Type: corev1.PersistentVolumeClaimControllerResizeError, Status: corev1.ConditionTrue, LastTransitionTime: now, Message: why}
	for i := range next.Conditions {
		if c := &next.Conditions[i]; c.Type == condition.Type && c.Status == condition.Status {
			condition.LastTransitionTime = c.LastTransitionTime
		}
	}
	next.Conditions = append(without(next.Conditions), condition)
	next.AllocatedResources = corev1.ResourceList{corev1.ResourceStorage: *rule.Request(claim)}
	next.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: corev1.PersistentVolumeClaimControllerResizeInfeasible}
	return next
}

// without leaves out what is said of resizing.
func without(conditions []corev1.PersistentVolumeClaimCondition) []corev1.PersistentVolumeClaimCondition {
	return slices.DeleteFunc(conditions, func(c corev1.PersistentVolumeClaimCondition) bool {
		return c.Type == corev1.PersistentVolumeClaimResizing || c.Type == corev1.PersistentVolumeClaimControllerResizeError
	})
}
