package attachdetach

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func disk(name string, modes ...corev1.PersistentVolumeAccessMode) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "d.example.com", VolumeHandle: "h-" + name}
	pv.Spec.AccessModes = modes
	return pv
}

func attachedTo(pv *corev1.PersistentVolume, node string, is bool) *storagev1.VolumeAttachment {
	at := attachment(pv, node)
	at.Status.Attached = is
	return at
}

func TestPlan(t *testing.T) {
	t.Parallel()
	once, many := disk("once", corev1.ReadWriteOnce), disk("many", corev1.ReadWriteMany)
	foreign := attachedTo(once, "n1", true)
	foreign.Name = "by-hand"
	for name, tt := range map[string]struct {
		used        []*corev1.PersistentVolume
		attachments []*storagev1.VolumeAttachment
		inUse       []*corev1.PersistentVolume
		shutDown    bool
		attach      int
		refuse      int
		detach      int
		attached    int
	}{
		"a pod comes":                                       {used: []*corev1.PersistentVolume{once}, attach: 1},
		"two pods with one volume":                          {used: []*corev1.PersistentVolume{once, once}, attach: 1},
		"asked for and not there yet":                       {used: []*corev1.PersistentVolume{once}, attachments: []*storagev1.VolumeAttachment{attachedTo(once, "n1", false)}},
		"attached":                                          {used: []*corev1.PersistentVolume{once}, attachments: []*storagev1.VolumeAttachment{attachedTo(once, "n1", true)}, attached: 1},
		"attached elsewhere, for one only":                  {used: []*corev1.PersistentVolume{once}, attachments: []*storagev1.VolumeAttachment{attachedTo(once, "n2", true)}, refuse: 1},
		"attached elsewhere, for many":                      {used: []*corev1.PersistentVolume{many}, attachments: []*storagev1.VolumeAttachment{attachedTo(many, "n2", true)}, attach: 1},
		"the last pod goes":                                 {attachments: []*storagev1.VolumeAttachment{attachedTo(once, "n1", true)}, detach: 1},
		"the last pod goes, still mounted":                  {attachments: []*storagev1.VolumeAttachment{attachedTo(once, "n1", true)}, inUse: []*corev1.PersistentVolume{once}, attached: 1},
		"still mounted, says a node that is out of service": {shutDown: true, attachments: []*storagev1.VolumeAttachment{attachedTo(once, "n1", true)}, inUse: []*corev1.PersistentVolume{once}, detach: 1},
		"out of service, and its pod is not gone yet":       {shutDown: true, used: []*corev1.PersistentVolume{once}, attachments: []*storagev1.VolumeAttachment{attachedTo(once, "n1", true)}, inUse: []*corev1.PersistentVolume{once}, attached: 1},
		"what somebody made by hand stays":                  {attachments: []*storagev1.VolumeAttachment{foreign}},
		"another node's is not our concern":                 {attachments: []*storagev1.VolumeAttachment{attachedTo(once, "n2", true)}},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
		for _, pv := range tt.inUse {
			node.Status.VolumesInUse = append(node.Status.VolumesInUse, uniqueName(pv))
		}
		if tt.shutDown {
			node.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute}}
		}
		var wishes []wish
		for _, pv := range tt.used {
			wishes = append(wishes, wish{pv, &corev1.Pod{}})
		}
		a := plan(node, wishes, tt.attachments, func(name string) *corev1.PersistentVolume {
			return map[string]*corev1.PersistentVolume{"once": once, "many": many}[name]
		})
		if len(a.Attach) != tt.attach || len(a.Refuse) != tt.refuse || len(a.Detach) != tt.detach || len(a.Attached) != tt.attached {
			t.Errorf("%s: attach %d, refuse %d, detach %d, attached %d", name, len(a.Attach), len(a.Refuse), len(a.Detach), len(a.Attached))
		}
	}
}

func TestNamesAreUpstreams(t *testing.T) {
	t.Parallel()
	pv := disk("a")
	if got := attachmentName(pv, "n"); got != "csi-cb95729b103c2671fd837e892ead59354e09b333062a59d361f863c2e2bc1c92" {
		t.Error(got)
	}
	if got := uniqueName(pv); got != "kubernetes.io/csi/d.example.com^h-a" {
		t.Error(got)
	}
}
