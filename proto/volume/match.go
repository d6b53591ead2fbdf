package volume

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// HasClass tells whether the claim names a class, be it "", rather than the default.
func HasClass(claim *corev1.PersistentVolumeClaim) bool {
	_, beta := claim.Annotations[corev1.BetaStorageClassAnnotation]
	return beta || claim.Spec.StorageClassName != nil
}

// ClassOf is the class that a claim asks for; "" is none.
func ClassOf(claim *corev1.PersistentVolumeClaim) string {
	if class, beta := claim.Annotations[corev1.BetaStorageClassAnnotation]; beta {
		return class
	}
	if claim.Spec.StorageClassName != nil {
		return *claim.Spec.StorageClassName
	}
	return ""
}

// ClassOfVolume is the class that a volume is of; "" is none.
func ClassOfVolume(pv *corev1.PersistentVolume) string {
	if class, beta := pv.Annotations[corev1.BetaStorageClassAnnotation]; beta {
		return class
	}
	return pv.Spec.StorageClassName
}

// Bound tells whether the claim's binding is done.
func Bound(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Spec.VolumeName != "" && metav1.HasAnnotation(claim.ObjectMeta, BindCompleted)
}

// Refers tells whether the volume is bound to the claim, or reserved for it by name.
func Refers(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	ref := pv.Spec.ClaimRef
	return ref != nil && ref.Name == claim.Name && ref.Namespace == claim.Namespace && (ref.UID == "" || ref.UID == claim.UID)
}

// Referring gives the volume as it is once bound to the claim, and whether that is a
// change. The volume itself is left alone.
func Referring(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) (bound *corev1.PersistentVolume, changed bool) {
	ours := !Refers(pv, claim)
	bound = pv.DeepCopy()
	if ref := pv.Spec.ClaimRef; ours || ref.UID != claim.UID {
		bound.Spec.ClaimRef = Reference(claim)
		changed = true
	}
	if ours && !metav1.HasAnnotation(pv.ObjectMeta, BoundByController) {
		metav1.SetMetaDataAnnotation(&bound.ObjectMeta, BoundByController, "yes")
		changed = true
	}
	return bound, changed
}

// Reference names a claim in a volume.
func Reference(claim *corev1.PersistentVolumeClaim) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion}
}

// Fits tells whether the volume that a claim names can serve it, and if not why, in
// upstream's words.
func Fits(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) error {
	switch {
	case pv.DeletionTimestamp != nil:
		return fmt.Errorf("the volume is marked for deletion %q", pv.Name)
	case size(pv).Cmp(*Request(claim)) < 0:
		return errors.New("requested PV is too small")
	case ClassOfVolume(pv) != ClassOf(claim):
		return errors.New("storageClassName does not match")
	case value(claim.Spec.VolumeAttributesClassName) != value(pv.Spec.VolumeAttributesClassName):
		return errors.New("volumeAttributesClassName does not match")
	case !SameMode(pv, claim):
		return errors.New("incompatible volumeMode")
	case !Accessible(pv, claim):
		return errors.New("incompatible accessMode")
	}
	return nil
}

// Where says on which node the volume is to be used; nil asks for no node.
type Where func(pv *corev1.PersistentVolume) bool

// Match finds the volume for a claim: one that refers to it already, else the smallest
// that serves it, except those in taken. Without a node, a claim that waits for its
// first consumer only gets what refers to it. A selector that cannot be read is an error.
func Match(claim *corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume, on Where, waits bool, taken map[string]bool) (*corev1.PersistentVolume, error) {
	selector := labels.Everything()
	if claim.Spec.Selector != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(claim.Spec.Selector); err != nil {
			return nil, fmt.Errorf("error creating internal label selector for claim: %s/%s: %w", claim.Namespace, claim.Name, err)
		}
	}
	var best *corev1.PersistentVolume
	for _, pv := range volumes {
		if taken[pv.Name] || pv.Spec.ClaimRef != nil && !Refers(pv, claim) || !could(pv, claim) {
			continue
		}
		there := on == nil || on(pv)
		if Refers(pv, claim) {
			if !there {
				return nil, nil
			}
			return pv, nil
		}
		if on == nil && waits || !there || pv.Status.Phase != corev1.VolumeAvailable || !selector.Matches(labels.Set(pv.Labels)) ||
			ClassOfVolume(pv) != ClassOf(claim) || !Accessible(pv, claim) {
			continue
		}
		if best == nil || better(pv, best) {
			best = pv
		}
	}
	return best, nil
}

// could tells what even a volume that refers to the claim must fulfil.
func could(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	return pv.DeletionTimestamp == nil && size(pv).Cmp(*Request(claim)) >= 0 && SameMode(pv, claim) &&
		value(claim.Spec.VolumeAttributesClassName) == value(pv.Spec.VolumeAttributesClassName)
}

// better: fewer access modes than asked for too much, then the smaller one; the name
// decides between equals, so that all who look choose the same.
func better(a, b *corev1.PersistentVolume) bool {
	if x, y := len(a.Spec.AccessModes), len(b.Spec.AccessModes); x != y {
		return x < y
	}
	if c := size(a).Cmp(*size(b)); c != 0 {
		return c < 0
	}
	return a.Name < b.Name
}

// Request is the size that a claim asks for.
func Request(claim *corev1.PersistentVolumeClaim) *resource.Quantity {
	return claim.Spec.Resources.Requests.Storage()
}

func size(pv *corev1.PersistentVolume) *resource.Quantity { return pv.Spec.Capacity.Storage() }

// SameMode compares volumeMode; absent means Filesystem.
func SameMode(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	return IsBlock(pv.Spec.VolumeMode) == IsBlock(claim.Spec.VolumeMode)
}

// IsBlock tells whether a volumeMode asks for a raw device.
func IsBlock(mode *corev1.PersistentVolumeMode) bool {
	return mode != nil && *mode == corev1.PersistentVolumeBlock
}

// Accessible tells whether the volume has all access modes that the claim asks for.
func Accessible(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	return !slices.ContainsFunc(claim.Spec.AccessModes, func(m corev1.PersistentVolumeAccessMode) bool { return !slices.Contains(pv.Spec.AccessModes, m) })
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
