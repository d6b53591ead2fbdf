package garbage

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/statelog"
)

// standing is what an owner reference turns out to be.
type standing int

const (
	unknown   standing = iota // its kind is not served: nothing is decided on it
	solid                     // the owner lives
	dangling                  // there is no such owner
	waitingOn                 // the owner waits for its dependents to be deleted
	misplaced                 // a cluster-scoped object names a namespaced owner
)

// step is what the collector does with one object.
type step struct {
	Delete          metav1.DeletionPropagation // not empty: delete with this policy
	Drop            []string                   // UIDs of owners to take off the references
	Unblock         bool                       // first make the references non-blocking, to break a cycle
	RemoveFinalizer string
	Release         []*node // dependents to be let go first
	WakeChildren    bool    // the dependents are to be looked at
	Misplaced       *statelog.OwnerReference
}

// decide is upstream's attemptToDeleteItem and attemptToOrphan as one function.
func decide(n *node, stand func(*statelog.OwnerReference) standing, children []*node) step {
	switch {
	case n.deleting && n.foreground:
		return deleteDependents(n, children)
	case n.deleting && n.orphaning:
		return step{Release: children, RemoveFinalizer: metav1.FinalizerOrphanDependents}
	case n.deleting || len(n.owners) == 0:
		return step{}
	}
	var gone []string
	var waits, lives bool
	for i := range n.owners {
		ref := &n.owners[i]
		switch stand(ref) {
		case unknown:
			return step{}
		case misplaced:
			return step{Misplaced: ref}
		case solid:
			lives = true
		case dangling:
			gone = append(gone, ref.UID)
		case waitingOn:
			gone = append(gone, ref.UID)
			waits = true
		}
	}
	switch {
	case lives:
		return step{Drop: gone}
	case waits && len(children) > 0:
		s := step{Delete: metav1.DeletePropagationForeground}
		for _, child := range children {
			if child.waits() {
				s.Unblock = true
			}
		}
		return s
	case n.orphaning:
		return step{Delete: metav1.DeletePropagationOrphan}
	case n.foreground:
		return step{Delete: metav1.DeletePropagationForeground}
	}
	return step{Delete: metav1.DeletePropagationBackground}
}

// deleteDependents lets an owner go once no dependent blocks it any more.
func deleteDependents(n *node, children []*node) step {
	var s step
	blocked := false
	for _, child := range children {
		if ref := child.owner(n.uid); ref == nil || !ref.BlockOwnerDeletion {
			continue
		}
		blocked = true
		if !child.deleting {
			s.WakeChildren = true
		}
	}
	if !blocked {
		s.RemoveFinalizer = metav1.FinalizerDeleteDependents
	}
	return s
}
