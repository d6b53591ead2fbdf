// Package volume is what the controllers of claims and persistent volumes share: who
// uses what. Start with Index. The controllers are below it:
//
//	binder        finds or makes a volume for each claim, and reclaims what is released
//	protection    keeps claims, volumes and VolumeAttributesClasses that are in use
//	expand        lets volumes grow with their claims
//	ephemeral     makes the claims of pods' ephemeral volumes
//	attachdetach  has CSI drivers attach volumes to nodes
package volume

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	rule "kubus.dev/proto/volume"
	"kubus.dev/services/controllers/internal/mirror"
)

// Indexes of the kinds below. All values are names, or namespace/name.
const (
	podsByClaim         = "claim"
	volumesByClaim      = "claim"
	volumesByClass      = "class"
	volumesByAttributes = "attributes"
	claimsByVolume      = "volume"
	claimsByClass       = "class"
	claimsByAttributes  = "attributes"
)

// Users answers who uses what. Make it once a term, before work begins.
type Users struct{ world *mirror.World }

// Index has the mirrors keep what the answers need.
func Index(world *mirror.World) Users {
	world.Pods.Index(podsByClaim, func(pod *corev1.Pod) []string {
		names := rule.ClaimNames(pod)
		for i := range names {
			names[i] = pod.Namespace + "/" + names[i]
		}
		return names
	})
	world.PersistentVolumes.Index(volumesByClaim, func(pv *corev1.PersistentVolume) []string {
		if ref := pv.Spec.ClaimRef; ref != nil {
			return []string{ref.Namespace + "/" + ref.Name}
		}
		return nil
	})
	world.PersistentVolumes.Index(volumesByClass, func(pv *corev1.PersistentVolume) []string { return []string{rule.ClassOfVolume(pv)} })
	world.PersistentVolumes.Index(volumesByAttributes, func(pv *corev1.PersistentVolume) []string { return named(pv.Spec.VolumeAttributesClassName) })
	claims := world.PersistentVolumeClaims
	claims.Index(claimsByVolume, func(claim *corev1.PersistentVolumeClaim) []string {
		if claim.Spec.VolumeName != "" {
			return []string{claim.Spec.VolumeName}
		}
		return nil
	})
	claims.Index(claimsByClass, func(claim *corev1.PersistentVolumeClaim) []string {
		if claim.Spec.VolumeName != "" {
			return nil
		}
		return []string{rule.ClassOf(claim)}
	})
	claims.Index(claimsByAttributes, func(claim *corev1.PersistentVolumeClaim) []string {
		names := append(named(claim.Spec.VolumeAttributesClassName), named(claim.Status.CurrentVolumeAttributesClassName)...)
		if m := claim.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
			names = append(names, m.TargetVolumeAttributesClassName)
		}
		return names
	})
	return Users{world}
}

func named(name *string) []string {
	if name == nil || *name == "" {
		return nil
	}
	return []string{*name}
}

// Pods are those that name the claim, be it by an ephemeral volume that has the claim's
// name; see rule.MadeFor.
func (u Users) Pods(claim types.NamespacedName) []*corev1.Pod {
	return u.world.Pods.ByIndex(podsByClaim, claim.String())
}

// Referring are the volumes that name the claim.
func (u Users) Referring(claim types.NamespacedName) []*corev1.PersistentVolume {
	return u.world.PersistentVolumes.ByIndex(volumesByClaim, claim.String())
}

// OfClass are the volumes of a class; "" is those without one.
func (u Users) OfClass(class string) []*corev1.PersistentVolume {
	return u.world.PersistentVolumes.ByIndex(volumesByClass, class)
}

// Claims are those that name the volume.
func (u Users) Claims(volume string) []*corev1.PersistentVolumeClaim {
	return u.world.PersistentVolumeClaims.ByIndex(claimsByVolume, volume)
}

// Waiting are the claims of a class that have no volume.
func (u Users) Waiting(class string) []*corev1.PersistentVolumeClaim {
	return u.world.PersistentVolumeClaims.ByIndex(claimsByClass, class)
}

// Attributes tells whether claims or volumes have, or are to get, what a
// VolumeAttributesClass says.
func (u Users) Attributes(class string) bool {
	return len(u.world.PersistentVolumes.ByIndex(volumesByAttributes, class)) > 0 ||
		len(u.world.PersistentVolumeClaims.ByIndex(claimsByAttributes, class)) > 0
}

// AttributesOf are the VolumeAttributesClasses of a claim or a volume, either may be nil.
func AttributesOf(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) []string {
	var names []string
	if claim != nil {
		names = append(append(names, named(claim.Spec.VolumeAttributesClassName)...), named(claim.Status.CurrentVolumeAttributesClassName)...)
		if m := claim.Status.ModifyVolumeStatus; m != nil {
			names = append(names, m.TargetVolumeAttributesClassName)
		}
	}
	if pv != nil {
		names = append(names, named(pv.Spec.VolumeAttributesClassName)...)
	}
	return names
}
