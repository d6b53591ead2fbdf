// Package filter decides whether a pod may run on a node: the hard rules of
// upstream's default filter plugins, in upstream's order and words. Workers,
// planner and broker all call this code, so they cannot disagree for long.
//
// Start with Node, which applies every rule. Static, Fit and Volumes are its parts:
// Static looks at labels, taints and names only, so its answer holds for a whole
// node class unless the shape is PerNode; Fit looks at what is taken, Volumes at where
// the pod's volumes are. All are pure and safe for concurrent use on nodes that do not change meanwhile.
package filter

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/shape"
)

// Reason says why a node refuses a pod. The zero value is no refusal.
type Reason uint8

// The reasons in the order of upstream's plugins; the first that applies counts.
const (
	OK Reason = iota
	Elsewhere
	Absent
	Unschedulable
	UntoleratedTaint
	NodeEnforced
	NodeSelector
	HostPorts
	Resources
	Disks
	VolumeExclusive
	VolumeDriver
	VolumeLimit
	VolumeAffinity
	VolumeUnbound
	VolumeSpace
	VolumeZone
	SpreadLabel
	SpreadSkew
	Affinity
	AntiAffinity
	ExistingAntiAffinity
	Features
	reasons
)

var texts = [reasons]string{
	OK:               "",
	Elsewhere:        "node(s) didn't satisfy plugin(s) [NodeAffinity]",
	Absent:           "node(s) didn't match the requested node name",
	Unschedulable:    "node(s) were unschedulable",
	UntoleratedTaint: "node(s) had untolerated taint(s)",
	NodeEnforced:     "node(s) didn't match scheduler-enforced node affinity",
	NodeSelector:     "node(s) didn't match Pod's node affinity/selector",
	HostPorts:        "node(s) didn't have free ports for the requested pod ports",
	Resources:        "Insufficient resources",
	Features:         "node(s) didn't match Pod's required features",
	Disks:            "node(s) had no available disk",
	VolumeExclusive:  "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod",
	VolumeLimit:      "node(s) exceed max volume count",
	VolumeSpace:      "node(s) did not have enough free storage",
	VolumeAffinity:   "node(s) didn't match PersistentVolume's node affinity",
	VolumeUnbound:    "node(s) didn't find available persistent volumes to bind",
	VolumeZone:       "node(s) had no available volume zone",

	SpreadLabel:          "node(s) didn't match pod topology spread constraints (missing required label)",
	SpreadSkew:           "node(s) didn't match pod topology spread constraints",
	Affinity:             "node(s) didn't match pod affinity rules",
	AntiAffinity:         "node(s) didn't match pod anti-affinity rules",
	ExistingAntiAffinity: "node(s) didn't satisfy existing pods anti-affinity rules",
}

// String is upstream's wording. Resources has a sentence for each resource
// instead; see Insufficient.
func (r Reason) String() string { return texts[r] }

// Node applies every rule that looks at one node alone and gives the first reason against;
// package topology has those about other pods, which come after.
func Node(s *shape.Shape, n *node.Node) Reason {
	if r := Static(s, n); r != OK {
		return r
	}
	if r := Fit(s, n); r != OK {
		return r
	}
	if r := Volumes(s, n); r != OK {
		return r
	}
	return Declared(s, n)
}

// Declared applies the rule of features that the node must declare, upstream's last.
func Declared(s *shape.Shape, n *node.Node) Reason {
	if s.Without(shape.NodeDeclaredFeatures) {
		return OK
	}
	for _, needed := range s.Features {
		if !slices.Contains(n.Class.Features, needed) {
			return Features
		}
	}
	return OK
}

// Volumes applies the rules of the pod's claims: they look at the node's labels only, but
// are no matter of its class, since volumes are on one node.
func Volumes(s *shape.Shape, n *node.Node) Reason {
	c := s.Claims
	if c == nil {
		return OK
	}
	if !s.Without(shape.NodeVolumeLimits) {
		switch {
		case slices.ContainsFunc(c.Attach, func(v shape.Attach) bool { return v.Needs && !n.HasDriver(v.Driver) }):
			return VolumeDriver
		case !n.Attachable(c.Attach):
			return VolumeLimit
		}
	}
	if r := bindable(s, n); r != OK && !s.Without(shape.VolumeBinding) {
		return r
	}
	if !s.Without(shape.VolumeZone) && !c.InZone(n.Self) {
		return VolumeZone
	}
	return OK
}

func bindable(s *shape.Shape, n *node.Node) Reason {
	if !s.Claims.Reach(n.Self) {
		return VolumeAffinity
	}
	switch _, lack := s.Claims.Choose(n.Self); lack {
	case shape.NoVolume:
		return VolumeUnbound
	case shape.NoSpace:
		return VolumeSpace
	}
	return OK
}

// Static applies the rules that look at the node's class and, for PerNode
// shapes, at its name and host name.
func Static(s *shape.Shape, n *node.Node) Reason {
	if !n.Present {
		return Absent
	}
	if s.Pinned != nil && !s.Without(shape.NodeAffinity) && !slices.Contains(s.Pinned, n.Name) {
		return Elsewhere
	}
	if n.Class.Unschedulable && !s.Without(shape.NodeUnschedulable) && !s.Tolerates(&cordon) {
		return Unschedulable
	}
	if r := Taints(s, n); r != OK && !s.Without(shape.TaintToleration) {
		return r
	}
	if added := s.Profile.Added; added != nil && !s.Without(shape.NodeAffinity) && !added.Match(n.Self) {
		return NodeEnforced
	}
	if !s.MatchesNode(n.Self) {
		return NodeSelector
	}
	return OK
}

// Taints applies the rule of taints alone.
func Taints(s *shape.Shape, n *node.Node) Reason {
	for i := range n.Class.Taints {
		t := &n.Class.Taints[i]
		if (t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute) && !s.Tolerates(t) {
			return UntoleratedTaint
		}
	}
	return OK
}

var cordon = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}

// Fit applies the rules that look at what is taken on the node: host ports, resources and disks.
func Fit(s *shape.Shape, n *node.Node) Reason {
	for _, want := range s.Ports {
		if s.Without(shape.NodePorts) {
			break
		}
		for _, taken := range n.Ports {
			if want.Conflicts(taken) {
				return HostPorts
			}
		}
	}
	if (n.Pods+1 > n.AllowedPods || !room(&s.Requests, n)) && !s.Without(shape.NodeResourcesFit) {
		return Resources
	}
	for _, want := range s.Disks {
		if !s.Without(shape.VolumeRestrictions) && slices.ContainsFunc(n.Disks, want.Conflicts) {
			return Disks
		}
	}
	return OK
}

// room asks, as upstream does, only for what is requested: a node that is over
// its memory still takes a pod that asks for none.
func room(want *shape.Resources, n *node.Node) bool {
	if want.MilliCPU > 0 && want.MilliCPU > n.Allocatable.MilliCPU-n.Used.MilliCPU ||
		want.Memory > 0 && want.Memory > n.Allocatable.Memory-n.Used.Memory ||
		want.Ephemeral > 0 && want.Ephemeral > n.Allocatable.Ephemeral-n.Used.Ephemeral {
		return false
	}
	for _, w := range want.Scalars {
		if w.Value > 0 && w.Value > n.Allocatable.Scalar(w.Name)-n.Used.Scalar(w.Name) {
			return false
		}
	}
	return true
}

// Insufficient lists upstream's sentence for each thing the node lacks. Hopeless
// says that even the empty node would lack it.
func Insufficient(s *shape.Shape, n *node.Node) (texts []string, hopeless bool) {
	if n.Pods+1 > n.AllowedPods {
		texts = append(texts, "Too many pods") // upstream never finds that hopeless
	}
	lack := func(name string, want, have, used int64) {
		if want > 0 && want > have-used {
			texts = append(texts, "Insufficient "+name)
			hopeless = hopeless || want > have
		}
	}
	lack("cpu", s.Requests.MilliCPU, n.Allocatable.MilliCPU, n.Used.MilliCPU)
	lack("memory", s.Requests.Memory, n.Allocatable.Memory, n.Used.Memory)
	lack("ephemeral-storage", s.Requests.Ephemeral, n.Allocatable.Ephemeral, n.Used.Ephemeral)
	for _, w := range s.Requests.Scalars {
		lack(w.Name, w.Value, n.Allocatable.Scalar(w.Name), n.Used.Scalar(w.Name))
	}
	return texts, hopeless
}
