package cluster

import (
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/shape"
)

// Lower gives the pods on a node that are less important than a priority.
func (m *Mirror) Lower(i, priority int32) []*shape.Pod {
	var out []*shape.Pod
	for _, r := range m.residents[i] {
		if r.pod.Shape.Priority < priority {
			out = append(out, r.pod)
		}
	}
	return out
}

// Lift takes a pod that takes room off its node, for a question; Lay puts it back. Between
// the two nothing else happens to the mirror.
func (m *Mirror) Lift(p *shape.Pod, i int32) {
	m.nodes[i].Give(p.Shape)
	m.claim(p.Shape, -1)
	m.index.Suppose(p.Self, p.Shape, p.Deleting, i, -1)
}

// Lay is the inverse of Lift.
func (m *Mirror) Lay(p *shape.Pod, i int32) {
	m.nodes[i].Take(p.Shape)
	m.claim(p.Shape, 1)
	m.index.Suppose(p.Self, p.Shape, p.Deleting, i, 1)
}

// Budgets calls fn with each disruption budget of a namespace.
func (m *Mirror) Budgets(namespace string, fn func(*feed.Budget)) {
	for _, b := range m.budgets {
		if b.Namespace == namespace {
			fn(b)
		}
	}
}

// Doom notes that a pod is about to be deleted to make room, ahead of the log; Spare takes
// that back.
func (m *Mirror) Doom(uid string) {
	if r := m.pods[uid]; r != nil {
		r.doomed = true
		m.doomed[uid] = r
	}
}

// Spare is the inverse of Doom.
func (m *Mirror) Spare(uid string) {
	if r := m.pods[uid]; r != nil {
		r.doomed = false
	}
	delete(m.doomed, uid)
}

// Left is how many of a budget's disruptions are left: its status does not know yet of those
// who are about to go.
func (m *Mirror) Left(b *feed.Budget) int32 {
	left := b.Allowed
	for _, r := range m.doomed {
		if p := r.pod; !p.Deleting && p.Namespace == b.Namespace && !b.Disrupted[p.Name] && b.Chooses.Matches(p.Self.Labels) {
			left--
		}
	}
	return left
}

// Clearing tells whether pods less important than a priority are on their way off a node,
// because their room is wanted.
func (m *Mirror) Clearing(i, priority int32) bool {
	for _, r := range m.residents[i] {
		if r.pod.Shape.Priority < priority && (r.doomed || r.pod.Deleting && r.pod.Preempted) {
			return true
		}
	}
	return false
}

// Nominees gives the pods, less important than a priority, for which room is made on a node.
func (m *Mirror) Nominees(i, priority int32) []*shape.Pod {
	var out []*shape.Pod
	for _, r := range m.nominees[i] {
		if r.node == none && r.pod.Shape.Priority < priority {
			out = append(out, r.pod)
		}
	}
	return out
}

// Expected gives the pods that have no room yet and for which it is being made somewhere.
func (m *Mirror) Expected() []string {
	var out []string
	for _, list := range m.nominees {
		for _, r := range list {
			if r.node == none {
				out = append(out, r.pod.UID)
			}
		}
	}
	return out
}
