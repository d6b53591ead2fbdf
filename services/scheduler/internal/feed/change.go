// Package feed turns the state log into changes for the scheduler's roles: each
// pod and node version is read once per process and handed to every role in the
// same order.
//
// Start with Feed. Delivery: in order per resource, no gaps; after a feed fell
// behind the watch window, one batch with Reset holds everything that exists.
package feed

import (
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/scheduler/internal/shape"
)

// Change is one version of one pod or node. Exactly one of Pod and Node is set;
// both are shared and never modified.
type Change struct {
	Pod  *shape.Pod
	Node *corev1.Node // name, labels, spec and allocatable only
	Gone bool         // the object was deleted; Pod or Node is its last state
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
}

// Sink takes batches, one call at a time, and should return soon.
type Sink interface {
	Apply(Batch)
}
