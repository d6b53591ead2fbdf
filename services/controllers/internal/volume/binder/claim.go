package binder

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	rule "kubus.dev/proto/volume"
)

// around is what a claim is decided by.
type around struct {
	Volume     *corev1.PersistentVolume   // that spec.volumeName names; nil: there is none
	Candidates []*corev1.PersistentVolume // of its class, and those that refer to it
	Class      *storagev1.StorageClass    // its own; nil: none, or not found
	Default    *storagev1.StorageClass    // the cluster's
	Unplaced   []string                   // names of pods that use it and have no node yet, sorted
}

// note is an event to be recorded.
type note struct{ kind, reason, text string }

func normal(reason, format string, args ...any) *note {
	return &note{corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...)}
}

func warning(reason, format string, args ...any) *note {
	return &note{corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...)}
}

// decision is what is to be done for a claim: one of the first four, or only a phase.
type decision struct {
	Bind      *corev1.PersistentVolume
	Class     string // to be given to it
	Provision bool
	Err       error // cannot go on

	Phase corev1.PersistentVolumeClaimPhase // "": as it is
	Event *note                             // for Lost only when the phase changes
}

// decide is upstream's syncClaim.
func decide(claim *corev1.PersistentVolumeClaim, a around) decision {
	if metav1.HasAnnotation(claim.ObjectMeta, rule.BindCompleted) {
		return decideBound(claim, a)
	}
	if claim.Spec.VolumeName == "" {
		return decideUnbound(claim, a)
	}
	return decideNamed(claim, a)
}

// decideUnbound: any volume will do.
func decideUnbound(claim *corev1.PersistentVolumeClaim, a around) decision {
	waits := Waits(a.Class)
	match, err := rule.Match(claim, a.Candidates, nil, waits, nil)
	_, selected := claim.Annotations[rule.SelectedNode]
	switch {
	case err != nil:
		return decision{Err: fmt.Errorf("error finding PV for claim %q: %w", claim.Namespace+"/"+claim.Name, err)}
	case match != nil:
		return decision{Bind: match}
	case !rule.HasClass(claim) && a.Default != nil:
		return decision{Class: a.Default.Name}
	case waits && !selected:
		return decision{Phase: corev1.ClaimPending, Event: awaits(a.Unplaced)}
	case rule.ClassOf(claim) != "":
		return decision{Provision: true}
	}
	return decision{Phase: corev1.ClaimPending,
		Event: normal("FailedBinding", "no persistent volumes available for this claim and no storage class is set")}
}

func awaits(pods []string) *note {
	switch len(pods) {
	case 0:
		return normal("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	case 1:
		return normal("WaitForPodScheduled", "waiting for pod %s to be scheduled", pods[0])
	}
	return normal("WaitForPodScheduled", "waiting for pods %s to be scheduled", strings.Join(pods, ","))
}

// decideNamed: the user, or an earlier try of ours, has chosen the volume.
func decideNamed(claim *corev1.PersistentVolumeClaim, a around) decision {
	pv := a.Volume
	switch {
	case pv == nil:
		return decision{Phase: corev1.ClaimPending}
	case pv.Spec.ClaimRef == nil:
		if err := rule.Fits(pv, claim); err != nil {
			return decision{Phase: corev1.ClaimPending, Event: warning("VolumeMismatch", "Cannot bind to requested volume %q: %s", pv.Name, err)}
		}
		return decision{Bind: pv}
	case rule.Refers(pv, claim):
		return decision{Bind: pv}
	}
	d := decision{Phase: corev1.ClaimPending, Event: warning("FailedBinding", "volume %q already bound to a different claim.", pv.Name)}
	if metav1.HasAnnotation(claim.ObjectMeta, rule.BoundByController) {
		ref := pv.Spec.ClaimRef
		d.Phase = ""
		d.Err = fmt.Errorf("invalid binding of claim %q to volume %q: volume already claimed by %q", claim.Namespace+"/"+claim.Name, pv.Name, ref.Namespace+"/"+ref.Name)
	}
	return d
}

// decideBound: the claim had its volume; has it still?
func decideBound(claim *corev1.PersistentVolumeClaim, a around) decision {
	lost := func(reason, text string) decision {
		return decision{Phase: corev1.ClaimLost, Event: warning(reason, "%s", text)}
	}
	switch pv := a.Volume; {
	case claim.Spec.VolumeName == "":
		return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	case pv == nil:
		return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.UID != claim.UID:
		return lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
	default:
		return decision{Bind: pv}
	}
}

// Waits tells whether claims of the class wait for their first consumer.
func Waits(class *storagev1.StorageClass) bool {
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// defaultClass is the newest of those marked as the default one.
func defaultClass(classes []*storagev1.StorageClass) *storagev1.StorageClass {
	var chosen *storagev1.StorageClass
	for _, class := range classes {
		if class.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" && class.Annotations["storageclass.beta.kubernetes.io/is-default-class"] != "true" {
			continue
		}
		if chosen == nil || chosen.CreationTimestamp.Before(&class.CreationTimestamp) ||
			chosen.CreationTimestamp.Equal(&class.CreationTimestamp) && class.Name < chosen.Name {
			chosen = class
		}
	}
	return chosen
}

// bound is the claim once it is bound to the volume, and whether that is a change.
func bound(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, bool) {
	next := claim.DeepCopy()
	if claim.Spec.VolumeName != pv.Name {
		next.Spec.VolumeName = pv.Name
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, rule.BoundByController, "yes")
	} else if metav1.HasAnnotation(claim.ObjectMeta, rule.BindCompleted) {
		return next, false
	}
	metav1.SetMetaDataAnnotation(&next.ObjectMeta, rule.BindCompleted, "yes")
	return next, true
}

// statusOf is the claim's status in a phase; pv is nil when it is not bound. The capacity
// is only taken over on binding: afterwards it is for who lets volumes grow to tell.
func statusOf(claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, pv *corev1.PersistentVolume) corev1.PersistentVolumeClaimStatus {
	next := *claim.Status.DeepCopy()
	next.Phase = phase
	if pv == nil {
		next.AccessModes, next.Capacity, next.CurrentVolumeAttributesClassName = nil, nil, nil
		return next
	}
	next.AccessModes = slices.Clone(pv.Spec.AccessModes)
	if claim.Status.Phase != phase {
		next.Capacity = pv.Spec.Capacity.DeepCopy()
	}
	if claim.Status.Phase == corev1.ClaimPending && phase == corev1.ClaimBound {
		next.CurrentVolumeAttributesClassName = pv.Spec.VolumeAttributesClassName
	}
	return next
}
