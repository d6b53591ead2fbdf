// Package feed turns the state log into changes for the scheduler's roles: each
// pod and node version is read once per process and handed to every role in the
// same order.
//
// Start with Feed. Delivery: in order per resource, no gaps; after a feed fell
// behind the watch window, one batch with Reset holds everything that exists.
package feed

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/scheduler/internal/shape"
)

// Change is one version of one object. Exactly one of Pod, Node, Space, Budget and Drivers is
// set; all are shared and never modified.
type Change struct {
	Pod    *shape.Pod
	Node   *corev1.Node  // name, labels, spec and what of the status matters
	Self   *corev1.Node  // name and labels of Node alone, which all roles keep
	Images []shape.Image // of Node
	Space  *Space
	Budget *Budget
	// Drivers are the CSI drivers of a node.
	Drivers *Drivers
	Gone    bool // the object was deleted; what is set is its last state
	// Revision of the change in the log.
	Revision uint64
}

// Batch is what happened since the last one.
type Batch struct {
	// Reset says that Changes are all objects that exist: forget what is not among them.
	Reset   bool
	Changes []Change
	// PodRevision and NodeRevision say how far the log has been read for each
	// resource when the batch has been applied. After a reset that is beyond the
	// newest change, since the log holds other things too.
	PodRevision  uint64
	NodeRevision uint64
	// VolumeRevision is the same of claims, volumes and storage classes together, and
	// VolumeSeen the newest change of one of them: those are no changes of their own, but
	// of the pods that they matter to, which come again with another shape.
	VolumeRevision uint64
	VolumeSeen     uint64
	// SpaceRevision is the same of namespaces, disruption budgets and nodes' drivers together.
	SpaceRevision uint64
}

// Space is a namespace; Labels is not nil.
type Space struct {
	Name   string
	Labels labels.Set
}

// Drivers is a CSINode: which CSI drivers are on a node, and how many volumes each can have on
// it; -1 is any number.
type Drivers struct {
	Node  string
	Limit map[string]int32
}

// Budget is a PodDisruptionBudget. What cannot be read chooses nothing.
type Budget struct {
	Namespace string
	Name      string
	Chooses   labels.Selector
	Allowed   int32           // status.disruptionsAllowed
	Disrupted map[string]bool // pods that go already, by name
}

// Key tells a budget from others.
func (b *Budget) Key() string { return b.Namespace + "/" + b.Name }

// Sink takes batches, one call at a time, and should return soon.
type Sink interface {
	Apply(Batch)
}
