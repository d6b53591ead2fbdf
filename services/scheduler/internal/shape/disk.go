package shape

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Disk is a network disk that the pod names itself, without a claim.
type Disk struct {
	ID        string // tells it from all others, of whatever kind
	ReadOnly  bool
	Exclusive bool // not even readers share it on a node
}

// Conflicts follows upstream's VolumeRestrictions: a disk that somebody writes to is used by
// one pod of a node.
func (d Disk) Conflicts(o Disk) bool {
	return d.ID == o.ID && (d.Exclusive || !d.ReadOnly || !o.ReadOnly)
}

func disksOf(spec *corev1.PodSpec) []Disk {
	var out []Disk
	add := func(readOnly, exclusive bool, id ...string) {
		out = append(out, Disk{strings.Join(id, "\x00"), readOnly, exclusive})
	}
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		switch {
		case v.GCEPersistentDisk != nil:
			add(v.GCEPersistentDisk.ReadOnly, false, "gce", v.GCEPersistentDisk.PDName)
		case v.AWSElasticBlockStore != nil:
			add(v.AWSElasticBlockStore.ReadOnly, true, "ebs", v.AWSElasticBlockStore.VolumeID)
		case v.ISCSI != nil:
			add(v.ISCSI.ReadOnly, false, "iscsi", v.ISCSI.IQN)
		case v.RBD != nil:
			for _, monitor := range v.RBD.CephMonitors { // sharing one is enough
				add(v.RBD.ReadOnly, false, "rbd", monitor, v.RBD.RBDPool, v.RBD.RBDImage)
			}
		}
	}
	return out
}
