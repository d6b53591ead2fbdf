package claim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/proto/volume"
	"kubus.dev/services/scheduler/internal/shape"
)

// SetDriver takes over a CSI driver's version; nil: it is gone.
func (c *Catalog) SetDriver(name string, driver *storagev1.CSIDriver) {
	put(c.drivers, name, driver)
	c.all = true
}

// SetCapacity takes over what a driver says of its room somewhere; nil: it is gone.
func (c *Catalog) SetCapacity(key string, capacity *storagev1.CSIStorageCapacity) {
	put(c.capacities, key, capacity)
	c.all = true
}

// SetLimits takes over which drivers have limits on a node. While a driver has none anywhere,
// its volumes are not counted.
func (c *Catalog) SetLimits(node string, drivers []string) {
	for _, name := range c.limits[node] {
		if c.limited[name]--; c.limited[name] == 0 {
			delete(c.limited, name)
			c.all = true
		}
	}
	delete(c.limits, node)
	if len(drivers) == 0 {
		return
	}
	c.limits[node] = drivers
	for _, name := range drivers {
		if c.limited[name]++; c.limited[name] == 1 {
			c.all = true
		}
	}
}

// occupying gives a pod that runs with what others must know of its claims.
func (c *Catalog) occupying(pod *shape.Pod) *shape.Pod {
	claims := &shape.Claims{}
	var print strings.Builder
	for i := range pod.Shape.Volumes {
		key := pod.Namespace + "/" + pod.Shape.Volumes[i].ClaimName(pod.Name)
		claim := c.claims[key]
		if claim == nil {
			continue
		}
		if slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) {
			claims.Sole = append(claims.Sole, key)
			fmt.Fprintf(&print, "sole %s;", key)
		}
		if v, counts := c.attach(claim); counts {
			claims.Attach = append(claims.Attach, v)
			fmt.Fprintf(&print, "%v;", v)
		}
	}
	if print.Len() == 0 {
		return pod
	}
	with := *pod
	with.Shape = c.shapes.with(pod.Shape, print.String(), claims)
	return &with
}

// attach is the volume behind a claim, if it counts against limits of its driver or needs the
// driver on its node. Upstream's getCSIDriverInfo, without translation of in-tree volumes.
func (c *Catalog) attach(claim *corev1.PersistentVolumeClaim) (v shape.Attach, counts bool) {
	pv := c.volumes[claim.Spec.VolumeName]
	switch class := c.classes[volume.ClassOf(claim)]; {
	case claim.Spec.VolumeName != "" && pv != nil && pv.Spec.CSI == nil:
		return v, false
	case claim.Spec.VolumeName != "" && pv != nil:
		v = shape.Attach{Driver: pv.Spec.CSI.Driver, ID: pv.Spec.CSI.VolumeHandle}
	case class != nil:
		v = shape.Attach{Driver: class.Provisioner, ID: claim.Namespace + "/" + claim.Name}
	}
	if driver := c.drivers[v.Driver]; driver != nil && driver.Spec.PreventPodSchedulingIfMissing != nil {
		v.Needs = *driver.Spec.PreventPodSchedulingIfMissing
	}
	return v, v.Driver != "" && v.ID != "" && (v.Needs || c.limited[v.Driver] > 0)
}

// room says where a driver that tells of its capacity has enough for a claim.
func (c *Catalog) room(u *shape.Unbound, class *storagev1.StorageClass, print *strings.Builder) {
	driver := c.drivers[class.Provisioner]
	size, asks := u.Claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if !asks || driver == nil || driver.Spec.StorageCapacity == nil || !*driver.Spec.StorageCapacity {
		return
	}
	u.Tells = true
	print.WriteString("tells;")
	for _, key := range slices.Sorted(maps.Keys(c.capacities)) {
		at := c.capacities[key]
		most := at.Capacity
		if at.MaximumVolumeSize != nil {
			most = at.MaximumVolumeSize
		}
		if at.StorageClassName != class.Name || at.NodeTopology == nil || most == nil || most.Value() < size.Value() {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(at.NodeTopology)
		if err != nil {
			selector = labels.Nothing()
		}
		room := shape.Room{Nodes: selector}
		if at.Capacity != nil {
			room.Bytes = at.Capacity.Value()
		}
		u.Room = append(u.Room, room)
		fmt.Fprintf(print, "%s %s %d;", key, selector, room.Bytes)
	}
}
