// Package attachdetach has CSI drivers attach volumes to the nodes whose pods use them.
//
// For each volume and node it keeps a VolumeAttachment, which the driver's external
// attacher acts on:
//
//	        a pod on the node uses it         the driver says attached
//	(none) ───────────────────────────▶ asked ────────────────────────▶ in node.status.volumesAttached
//	   ▲                                                                        │ no pod uses it, and it is not in
//	   └────────────────────────────────────────────────────────────────────────┘ node.status.volumesInUse,
//	                                                                               or the node is out of service
//
// A volume that only one node may write to is not attached to a second one; the pod is
// told. Only attachments named as ours are ever deleted. Semantics, names and events are
// upstream's; drivers that say attachRequired: false are left alone.
package attachdetach

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wish is a volume that a pod on the node uses.
type wish struct {
	Volume *corev1.PersistentVolume
	Pod    *corev1.Pod // the first that does, to be told
}

// actions are what is to be done for a node.
type actions struct {
	Attach   []wish
	Refuse   []wish // it is attached elsewhere and may be at one node only
	Detach   []*storagev1.VolumeAttachment
	Attached []corev1.AttachedVolume // for the node's status, sorted
}

// plan decides for one node. attachments are those of all nodes; volume gives a volume by
// name, nil when it is gone.
func plan(node *corev1.Node, wishes []wish, attachments []*storagev1.VolumeAttachment, volume func(name string) *corev1.PersistentVolume) actions {
	var a actions
	wanted := map[string]bool{}
	byName := map[string]*storagev1.VolumeAttachment{}
	for _, at := range attachments {
		byName[at.Name] = at
	}
	for _, w := range wishes {
		name := attachmentName(w.Volume, node.Name)
		if wanted[name] {
			continue
		}
		wanted[name] = true
		switch at := byName[name]; {
		case at != nil && at.DeletionTimestamp == nil && at.Status.Attached:
			a.Attached = append(a.Attached, attached(w.Volume, at))
		case at != nil:
		case single(w.Volume) && elsewhere(w.Volume, node.Name, attachments):
			a.Refuse = append(a.Refuse, w)
		default:
			a.Attach = append(a.Attach, w)
		}
	}
	for _, at := range attachments {
		if at.Spec.NodeName != node.Name || wanted[at.Name] || at.Spec.Source.PersistentVolumeName == nil {
			continue
		}
		pv := volume(*at.Spec.Source.PersistentVolumeName)
		switch {
		case !ours(at, pv) || at.DeletionTimestamp != nil:
		case pv != nil && slices.Contains(node.Status.VolumesInUse, uniqueName(pv)) && !outOfService(node):
			if at.Status.Attached {
				a.Attached = append(a.Attached, attached(pv, at))
			}
		default:
			a.Detach = append(a.Detach, at)
		}
	}
	slices.SortFunc(a.Attached, func(x, y corev1.AttachedVolume) int { return cmp.Compare(x.Name, y.Name) })
	return a
}

// outOfService: a person says that the node is shut down, so nothing is mounted there
// whatever it said last.
func outOfService(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

// ours tells whether we made the attachment; pv is its volume, nil when that is gone.
func ours(at *storagev1.VolumeAttachment, pv *corev1.PersistentVolume) bool {
	if pv != nil {
		return pv.Spec.CSI != nil && at.Name == attachmentName(pv, at.Spec.NodeName)
	}
	return ourName.MatchString(at.Name)
}

var ourName = regexp.MustCompile(`^csi-[0-9a-f]{64}$`)

// attachment is what asks a driver to attach.
func attachment(pv *corev1.PersistentVolume, node string) *storagev1.VolumeAttachment {
	name := pv.Name
	return &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: attachmentName(pv, node)},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: pv.Spec.CSI.Driver, NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &name},
		},
	}
}

func attachmentName(pv *corev1.PersistentVolume, node string) string {
	return hashed(pv.Spec.CSI.VolumeHandle, pv.Spec.CSI.Driver, node)
}

func hashed(handle, driver, node string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(handle+driver+node)))
}

// uniqueName is how a node's status names a volume.
func uniqueName(pv *corev1.PersistentVolume) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName("kubernetes.io/csi/" + pv.Spec.CSI.Driver + "^" + pv.Spec.CSI.VolumeHandle)
}

func attached(pv *corev1.PersistentVolume, at *storagev1.VolumeAttachment) corev1.AttachedVolume {
	return corev1.AttachedVolume{Name: uniqueName(pv), DevicePath: at.Status.AttachmentMetadata["devicePath"]}
}

// single: the volume may be at one node at a time.
func single(pv *corev1.PersistentVolume) bool {
	return !slices.ContainsFunc(pv.Spec.AccessModes, func(m corev1.PersistentVolumeAccessMode) bool {
		return m == corev1.ReadWriteMany || m == corev1.ReadOnlyMany
	})
}

// elsewhere: it is attached, or about to be, to another node.
func elsewhere(pv *corev1.PersistentVolume, node string, attachments []*storagev1.VolumeAttachment) bool {
	return slices.ContainsFunc(attachments, func(at *storagev1.VolumeAttachment) bool {
		return at.Spec.NodeName != node && at.Name == attachmentName(pv, at.Spec.NodeName)
	})
}
