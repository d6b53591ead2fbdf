package binder

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	rule "kubus.dev/proto/volume"
)

// verdict is what is to be done for a volume.
type verdict struct {
	Phase   corev1.PersistentVolumePhase // "": as it is
	Unbind  bool                         // its claim is bound to another volume
	Reclaim bool                         // its claim is gone
	Event   *note                        // about the volume
	ToClaim *note                        // about its claim
}

// judge is upstream's syncVolume; claim is the one that the volume refers to by name, nil
// when there is none, as of the API itself.
func judge(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) verdict {
	ref := pv.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		return verdict{Phase: corev1.VolumeAvailable}
	}
	released := verdict{Phase: corev1.VolumeReleased, Reclaim: true}
	if pv.Status.Phase == corev1.VolumeFailed {
		released.Phase = "" // the user is to see that something went wrong
	}
	switch {
	case claim == nil || claim.UID != ref.UID:
		return released
	case claim.Spec.VolumeName == "" && !rule.SameMode(pv, claim):
		return verdict{
			Event:   warning("VolumeMismatch", "Cannot bind PersistentVolume to requested PersistentVolumeClaim %q due to incompatible volumeMode.", claim.Name),
			ToClaim: warning("VolumeMismatch", "Cannot bind PersistentVolume %q to requested PersistentVolumeClaim due to incompatible volumeMode.", pv.Name),
		}
	case claim.Spec.VolumeName == "":
		return verdict{} // the claim completes the binding
	case claim.Spec.VolumeName == pv.Name:
		return verdict{Phase: corev1.VolumeBound}
	case metav1.HasAnnotation(pv.ObjectMeta, rule.ProvisionedBy) && pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		return released
	}
	return verdict{Unbind: true}
}

// unbound is the volume without its claim: free again when we had chosen it, else
// reserved as the user had it.
func unbound(pv *corev1.PersistentVolume) *corev1.PersistentVolume {
	next := pv.DeepCopy()
	if !metav1.HasAnnotation(pv.ObjectMeta, rule.BoundByController) {
		next.Spec.ClaimRef.UID = ""
		return next
	}
	next.Spec.ClaimRef = nil
	delete(next.Annotations, rule.BoundByController)
	return next
}

// remover says who removes what a volume stands for.
type remover int

const (
	nobody   remover = iota // nothing is to be removed
	external                // a provisioner of its own, which watches volumes
	ours                    // the agent of its node, asked by us
)

// reclaim says what becomes of a released volume; the note is why it becomes Failed.
func reclaim(pv *corev1.PersistentVolume) (remover, *note) {
	switch pv.Spec.PersistentVolumeReclaimPolicy {
	case corev1.PersistentVolumeReclaimRetain:
		return nobody, nil
	case corev1.PersistentVolumeReclaimRecycle:
		return nobody, warning("VolumeFailedRecycle", "No recycler plugin found for the volume!")
	case corev1.PersistentVolumeReclaimDelete:
	default:
		return nobody, warning("VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy")
	}
	switch by := pv.Annotations[rule.ProvisionedBy]; {
	case by == rule.LocalProvisioner && pv.Spec.Local != nil:
		return ours, nil
	case strings.HasPrefix(by, "kubernetes.io/"):
		return nobody, warning("VolumeFailedDelete", "no volume plugin matched name: %s", by)
	case by != "" || pv.Spec.CSI != nil || pv.Annotations["pv.kubernetes.io/migrated-to"] != "":
		return external, nil
	}
	return nobody, warning("VolumeFailedDelete", "%s", fmt.Sprintf("error getting deleter volume plugin for volume %q: no deletable volume plugin matched", pv.Name))
}
