// Package node holds one node as the scheduler sees it: what it offers, what is
// taken, and the class that says which pods its labels and taints let in.
//
// Start with Node and Class. A Class is immutable and shared by all nodes that
// differ in nothing but name and host name label; a Node belongs to its cluster
// mirror and is not safe for concurrent use.
package node

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/scheduler/internal/shape"
)

// Class is what nodes have in common: labels without the host name, taints, cordon.
type Class struct {
	Sample        *corev1.Node // name and labels of one member, for selectors
	Taints        []corev1.Taint
	Unschedulable bool
	Features      []string // status.declaredFeatures
	Zone          string   // the zone's label; "" when the node has none
}

// Node is one node of the cluster. It exists without Present while pods name a
// node that the API does not hold.
type Node struct {
	Name    string
	Present bool
	Class   *Class
	Self    *corev1.Node // name and labels only

	Allocatable shape.Resources
	AllowedPods int64

	// What the pods on the node take. Used never exceeds Allocatable by our doing;
	// it can by a node's shrinking or by pods that were bound by others.
	Used          shape.Resources
	ScoreMilliCPU int64 // as Used, with upstream's defaults for pods that ask for nothing
	ScoreMemory   int64
	Pods          int64
	Ports         []shape.Port
	Disks         []shape.Disk
	Volumes       []shape.Attach // of CSI drivers that have limits or must be there

	// Drivers are the CSI drivers of the node by name, and how many volumes each can have on
	// it; -1 is any number. Shared, never changed in place.
	Drivers map[string]int32

	Images []shape.Image // that it has; shared, never changed in place
}

// Set takes over what an API object says of the node. self is its name and labels alone,
// which others may keep too; nil: they are copied.
func (n *Node) Set(obj, self *corev1.Node, classes *Classes) {
	n.Present = true
	if n.Self = self; self == nil {
		n.Self = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: obj.Name, Labels: obj.Labels}}
	}
	n.Allocatable = shape.NewResources(obj.Status.Allocatable)
	n.AllowedPods = obj.Status.Allocatable.Pods().Value()
	n.Class = classes.of(obj)
}

// Unset keeps the node only for the pods that still name it.
func (n *Node) Unset() {
	*n = Node{Name: n.Name, Used: n.Used, ScoreMilliCPU: n.ScoreMilliCPU, ScoreMemory: n.ScoreMemory, Pods: n.Pods, Ports: n.Ports, Disks: n.Disks, Volumes: n.Volumes}
}

// Take puts a pod's requests onto the node.
func (n *Node) Take(s *shape.Shape) {
	n.count(s, 1)
	if len(s.Ports) > 0 {
		n.Ports = append(n.Ports, s.Ports...)
	}
	if len(s.Disks) > 0 {
		n.Disks = append(n.Disks, s.Disks...)
	}
	if s.Claims != nil && len(s.Claims.Attach) > 0 {
		n.Volumes = append(n.Volumes, s.Claims.Attach...)
	}
}

// Give is the inverse of Take.
func (n *Node) Give(s *shape.Shape) {
	n.count(s, -1)
	for _, p := range s.Ports {
		if i := slices.Index(n.Ports, p); i >= 0 {
			n.Ports = slices.Delete(n.Ports, i, i+1)
		}
	}
	for _, d := range s.Disks {
		if i := slices.Index(n.Disks, d); i >= 0 {
			n.Disks = slices.Delete(n.Disks, i, i+1)
		}
	}
	if s.Claims == nil {
		return
	}
	for _, v := range s.Claims.Attach {
		if i := slices.Index(n.Volumes, v); i >= 0 {
			n.Volumes = slices.Delete(n.Volumes, i, i+1)
		}
	}
}

// HasDriver tells whether a CSI driver is on the node.
func (n *Node) HasDriver(name string) bool {
	_, has := n.Drivers[name]
	return has
}

// Attachable tells whether the node's drivers can have these volumes too. One that several pods
// use counts once.
func (n *Node) Attachable(volumes []shape.Attach) bool {
	for i, v := range volumes {
		most, known := n.Drivers[v.Driver]
		if !known || most < 0 {
			continue
		}
		seen := map[string]bool{}
		fresh := false
		for _, there := range n.Volumes {
			if there.Driver == v.Driver {
				seen[there.ID] = true
			}
		}
		for _, own := range volumes[:i+1] {
			if own.Driver == v.Driver && !seen[own.ID] {
				seen[own.ID], fresh = true, true
			}
		}
		if fresh && len(seen) > int(most) {
			return false
		}
	}
	return true
}

// Copy is the node to try things on.
func (n *Node) Copy() Node {
	c := *n
	c.Ports, c.Disks, c.Volumes = slices.Clone(n.Ports), slices.Clone(n.Disks), slices.Clone(n.Volumes)
	return c
}

func (n *Node) count(s *shape.Shape, sign int64) {
	n.Used.Add(&s.Requests, sign)
	n.ScoreMilliCPU += sign * s.ScoreMilliCPU
	n.ScoreMemory += sign * s.ScoreMemory
	n.Pods += sign
}

// Classes interns classes. The zero value is not ready; use NewClasses. Entries
// of classes that no node has any more are dropped by Sweep.
type Classes struct {
	byKey map[string]*Class
}

// NewClasses gives an empty set.
func NewClasses() *Classes { return &Classes{byKey: map[string]*Class{}} }

// Len is the number of classes held.
func (c *Classes) Len() int { return len(c.byKey) }

// Sweep forgets the classes that keep does not claim.
func (c *Classes) Sweep(keep func(*Class) bool) {
	maps.DeleteFunc(c.byKey, func(_ string, class *Class) bool { return !keep(class) })
}

func (c *Classes) of(obj *corev1.Node) *Class {
	key := classKey(obj)
	class := c.byKey[key]
	if class == nil {
		class = &Class{
			Sample:        &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: obj.Name, Labels: obj.Labels}},
			Taints:        obj.Spec.Taints,
			Unschedulable: obj.Spec.Unschedulable,
			Features:      obj.Status.DeclaredFeatures,
			Zone:          obj.Labels[corev1.LabelTopologyZone],
		}
		c.byKey[key] = class
	}
	return class
}

func classKey(obj *corev1.Node) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(obj.Labels)) {
		if k != corev1.LabelHostname {
			b.WriteString(k + "\x00" + obj.Labels[k] + "\x00")
		}
	}
	b.WriteByte(1)
	for _, t := range obj.Spec.Taints {
		b.WriteString(t.Key + "\x00" + t.Value + "\x00" + string(t.Effect) + "\x00")
	}
	if obj.Spec.Unschedulable {
		b.WriteByte(2)
	}
	for _, f := range obj.Status.DeclaredFeatures {
		b.WriteString("\x03" + f)
	}
	return b.String()
}
