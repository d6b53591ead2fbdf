// Package protection keeps what is in use from being deleted: claims that pods use,
// volumes that are bound, VolumeAttributesClasses that claims and volumes have.
//
//	          deleted            in use no more
//	present ──────────▶ waiting ────────────────▶ gone
//
// Each has a finalizer (admission sets those of claims and volumes; what lacks it gets it
// here), which is taken away when the object is being deleted and nobody uses it. Claims
// also tell, in the condition Unused, since when no pod names them. Semantics are
// upstream's.
package protection

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	rule "kubus.dev/proto/volume"
	"kubus.dev/services/controllers/internal/pod"
)

// change is what is to become of an object's finalizer.
type change int

const (
	stay change = iota
	set
	unset
)

// finalize decides about one finalizer.
func finalize(object metav1.Object, finalizer string, used bool) change {
	has := slices.Contains(object.GetFinalizers(), finalizer)
	switch deleted := object.GetDeletionTimestamp() != nil; {
	case !deleted && !has:
		return set
	case deleted && has && !used:
		return unset
	}
	return stay
}

// with changes a copy's finalizers.
func with(object metav1.Object, finalizer string, c change) {
	finalizers := slices.Clone(object.GetFinalizers())
	if c == set {
		finalizers = append(finalizers, finalizer)
	} else {
		finalizers = slices.DeleteFunc(finalizers, func(f string) bool { return f == finalizer })
	}
	object.SetFinalizers(finalizers)
}

// holds tells whether a pod keeps the claim from being deleted: only one that has a node,
// for a node starts no pod with a claim that is being deleted.
func holds(p *corev1.Pod, claim *corev1.PersistentVolumeClaim) bool {
	if p.Spec.NodeName == "" {
		return false
	}
	shutDown := p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil && *p.DeletionGracePeriodSeconds == 0
	return names(p, claim, !shutDown)
}

// refersTo tells whether a pod that goes on names the claim, with or without a node.
func refersTo(p *corev1.Pod, claim *corev1.PersistentVolumeClaim) bool {
	return !pod.Terminal(p) && names(p, claim, true)
}

func names(p *corev1.Pod, claim *corev1.PersistentVolumeClaim, alsoEphemeral bool) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		name, ephemeral := rule.ClaimName(p, &v)
		return name == claim.Name && (!ephemeral || alsoEphemeral && rule.MadeFor(p, claim) == nil)
	})
}

// unused gives the claim's condition about its use, nil when it says so already.
func unused(claim *corev1.PersistentVolumeClaim, used bool, now metav1.Time) *corev1.PersistentVolumeClaimCondition {
	if claim.DeletionTimestamp != nil || claim.Status.Phase != corev1.ClaimBound {
		return nil
	}
	next := corev1.PersistentVolumeClaimCondition{Type: corev1.PersistentVolumeClaimUnused, LastTransitionTime: now,
		Status: corev1.ConditionTrue, Reason: "NoPodsUsingPVC", Message: "No pods are currently referencing this PVC"}
	if used {
		next.Status, next.Reason, next.Message = corev1.ConditionFalse, "PodUsingPVC", "A pod is currently referencing this PVC"
	}
	for i := range claim.Status.Conditions {
		if c := &claim.Status.Conditions[i]; c.Type == next.Type && c.Status == next.Status {
			return nil
		}
	}
	return &next
}
