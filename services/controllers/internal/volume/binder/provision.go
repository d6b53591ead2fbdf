package binder

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	rule "kubus.dev/proto/volume"
	"kubus.dev/services/controllers/internal/volume/local"
)

// provisioner says who makes volumes of a claim's class; the note says why nobody does.
func provisioner(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (ours bool, refusal *note) {
	switch {
	case class == nil:
		return false, warning("ProvisioningFailed", "storageclass.storage.k8s.io %q not found", rule.ClassOf(claim))
	case class.Provisioner == rule.LocalProvisioner:
		return true, nil
	case strings.HasPrefix(class.Provisioner, "kubernetes.io/"):
		return false, warning("ProvisioningFailed", "no volume plugin matched name: %s", class.Provisioner)
	}
	return false, nil
}

// marked is the claim with the mark for its provisioner, and whether that is a change.
func marked(claim *corev1.PersistentVolumeClaim, provisioner string) (*corev1.PersistentVolumeClaim, bool) {
	if claim.Annotations[rule.StorageProvisioner] == provisioner {
		return claim, false
	}
	next := claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&next.ObjectMeta, rule.StorageProvisioner, provisioner)
	metav1.SetMetaDataAnnotation(&next.ObjectMeta, rule.BetaStorageProvisioner, provisioner)
	return next, true
}

// cannot says why no folder can serve the claim, whatever the node.
func cannot(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) error {
	spec := &claim.Spec
	switch {
	case spec.DataSource != nil || spec.DataSourceRef != nil:
		return fmt.Errorf("plugin %q is not a CSI plugin. Only CSI plugin can provision a claim with a datasource", rule.LocalProvisioner)
	case len(class.MountOptions) > 0:
		return fmt.Errorf("Mount options are not supported by the provisioner but StorageClass %q has mount options %v", class.Name, class.MountOptions) //nolint:staticcheck // upstream's sentence
	case spec.Selector != nil:
		return failed(class, errors.New("claim.Spec.Selector is not supported for dynamic provisioning by "+rule.LocalProvisioner))
	case rule.IsBlock(spec.VolumeMode):
		return failed(class, errors.New("a folder cannot serve volumeMode Block"))
	case slices.ContainsFunc(spec.AccessModes, func(m corev1.PersistentVolumeAccessMode) bool {
		return m != corev1.ReadWriteOnce && m != corev1.ReadWriteOncePod
	}):
		return failed(class, errors.New("a folder on one node has access modes ReadWriteOnce and ReadWriteOncePod only"))
	}
	return nil
}

func failed(class *storagev1.StorageClass, err error) error {
	return fmt.Errorf("Failed to provision volume with StorageClass %q: %w", class.Name, err) //nolint:staticcheck // upstream's sentence
}

// volumeName is that of the volume made for a claim; making it again makes no second one.
func volumeName(claim *corev1.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

// localVolume is the volume for a claim whose folder is at path on the node.
func localVolume(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, node *corev1.Node, path string) *corev1.PersistentVolume {
	mode, policy := corev1.PersistentVolumeFilesystem, corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: volumeName(claim), Annotations: map[string]string{
			rule.BoundByController: "yes", rule.ProvisionedBy: rule.LocalProvisioner,
		}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: *rule.Request(claim)},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			AccessModes:                   slices.Clone(claim.Spec.AccessModes),
			ClaimRef:                      rule.Reference(claim),
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class.Name,
			VolumeMode:                    &mode,
			VolumeAttributesClassName:     claim.Spec.VolumeAttributesClassName,
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{local.Host(node)}}},
			}}}},
		},
	}
	if policy == corev1.PersistentVolumeReclaimDelete {
		pv.Finalizers = []string{rule.RemovalProtection}
	}
	return pv
}
