package oracle

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The drivers of the clusters: "csi.a" tells of its capacity and has limits, "csi.b" does not.
const (
	tells  = "csi.a"
	silent = "csi.b"
)

// storage gives the cluster classes, volumes and claims of every kind.
func (d *dice) storage(c *Cluster) {
	wait, now := storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	yes, no := true, false
	c.Classes = []*storagev1.StorageClass{
		{ObjectMeta: metav1.ObjectMeta{Name: "local"}, Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: &wait},
		{ObjectMeta: metav1.ObjectMeta{Name: "wait-a"}, Provisioner: tells, VolumeBindingMode: &wait},
		{ObjectMeta: metav1.ObjectMeta{Name: "wait-b"}, Provisioner: silent, VolumeBindingMode: &wait},
		{ObjectMeta: metav1.ObjectMeta{Name: "now"}, Provisioner: silent, VolumeBindingMode: &now},
	}
	if d.one(3) {
		c.Classes[2].AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: corev1.LabelTopologyZone, Values: []string{"z1", "z2"}}}}}
	}
	c.Drivers = []*storagev1.CSIDriver{
		{ObjectMeta: metav1.ObjectMeta{Name: tells}, Spec: storagev1.CSIDriverSpec{StorageCapacity: &yes}},
		{ObjectMeta: metav1.ObjectMeta{Name: silent}, Spec: storagev1.CSIDriverSpec{StorageCapacity: &no}},
	}
	for i := range d.IntN(3) {
		at := d.capacity(i)
		if !slices.ContainsFunc(c.Capacities, func(o *storagev1.CSIStorageCapacity) bool { return overlap(o, at) }) {
			c.Capacities = append(c.Capacities, at)
		}
	}
	for _, n := range c.Nodes {
		if !d.one(4) {
			c.CSINodes = append(c.CSINodes, d.csiNode(n))
		}
	}
	for i := range d.IntN(6) {
		c.Volumes = append(c.Volumes, d.volume(fmt.Sprintf("pv%d", i), pick(d, "local", "local", "wait-b", "")))
	}
	for i := range 3 + d.IntN(5) {
		d.claim(c, fmt.Sprintf("pvc%d", i))
	}
}

func (d *dice) capacity(i int) *storagev1.CSIStorageCapacity {
	size := pick(d, resource.MustParse("1Gi"), resource.MustParse("10Gi"))
	s := &storagev1.CSIStorageCapacity{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("cap%d", i), Namespace: "a"}, StorageClassName: pick(d, "wait-a", "wait-a", "wait-b"), Capacity: &size,
		NodeTopology: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelTopologyZone: pick(d, "z1", "z2")}}}
	if d.one(4) {
		s.NodeTopology = &metav1.LabelSelector{}
	}
	if d.one(4) {
		most := resource.MustParse("2Gi")
		s.MaximumVolumeSize = &most
	}
	if d.one(6) {
		s.NodeTopology = nil
	}
	return s
}

// overlap tells whether a node may reach both: which one counts then is upstream's chance.
func overlap(a, b *storagev1.CSIStorageCapacity) bool {
	if a.StorageClassName != b.StorageClassName || a.NodeTopology == nil || b.NodeTopology == nil {
		return false
	}
	x, y := a.NodeTopology.MatchLabels, b.NodeTopology.MatchLabels
	return len(x) == 0 || len(y) == 0 || maps.Equal(x, y)
}

func (d *dice) csiNode(n *corev1.Node) *storagev1.CSINode {
	out := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}
	for _, name := range []string{tells, silent} {
		if d.one(3) {
			continue
		}
		driver := storagev1.CSINodeDriver{Name: name, NodeID: n.Name}
		if d.one(2) {
			most := d.Int32N(3)
			driver.Allocatable = &storagev1.VolumeNodeResources{Count: &most}
		}
		out.Spec.Drivers = append(out.Spec.Drivers, driver)
	}
	return out
}

func (d *dice) volume(name, class string) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("pv-" + name), ResourceVersion: "1"}}
	pv.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: pick(d, resource.MustParse("1Gi"), resource.MustParse("5Gi"))}
	pv.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	pv.Spec.StorageClassName = class
	pv.Status.Phase = corev1.VolumeAvailable
	if d.one(2) {
		pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: pick(d, tells, silent), VolumeHandle: name}
	} else {
		pv.Spec.HostPath = &corev1.HostPathVolumeSource{Path: "/" + name}
	}
	if !d.one(3) {
		pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: pick(d, corev1.LabelTopologyZone, corev1.LabelHostname), Operator: corev1.NodeSelectorOpIn, Values: []string{pick(d, "z1", "n0"), pick(d, "z2", "n1")}}},
		}}}}
	}
	if d.one(4) {
		pv.Labels = map[string]string{pick(d, corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaZone): pick(d, "z1", "z1__z2")}
	}
	return pv
}

func (d *dice) claim(c *Cluster, name string) {
	class := pick(d, "local", "wait-a", "wait-b", "now", "gone", "")
	p := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: pick(d, "a", "a", "b"), UID: types.UID("pvc-" + name), ResourceVersion: "1"}}
	p.Spec.StorageClassName = &class
	p.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{pick(d, corev1.ReadWriteOnce, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)}
	p.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: pick(d, resource.MustParse("1Gi"), resource.MustParse("3Gi"))}
	p.Status.Phase = corev1.ClaimPending
	if d.one(2) { // bound
		pv := d.volume("of-"+name, class)
		p.Spec.VolumeName = pv.Name
		p.Annotations = map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
		p.Status.Phase = corev1.ClaimBound
		pv.Spec.AccessModes = p.Spec.AccessModes
		pv.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
		pv.Status.Phase = corev1.VolumeBound
		if !d.one(10) {
			c.Volumes = append(c.Volumes, pv)
		}
	}
	if d.one(12) {
		p.Status.Phase = corev1.ClaimLost
	}
	c.Claims = append(c.Claims, p)
}

// volumes gives the pod some.
func (d *dice) volumes(c *Cluster, p *corev1.Pod) {
	add := func(source corev1.VolumeSource) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("v%d", len(p.Spec.Volumes)), VolumeSource: source})
	}
	if d.one(8) {
		add(corev1.VolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: pick(d, "d1", "d2"), ReadOnly: d.one(2)}})
	}
	if d.one(12) {
		add(corev1.VolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "e1", ReadOnly: d.one(2)}})
	}
	if len(c.Claims) == 0 {
		return
	}
	for d.one(2) {
		claim := pick(d, c.Claims...)
		p.Namespace = claim.Namespace // most pods find their claims
		p.OwnerReferences = nil
		delete(p.Labels, "pod-template-hash")
		name := claim.Name
		if d.one(20) {
			name = "gone"
		}
		add(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}})
		if d.one(2) {
			break
		}
	}
}
