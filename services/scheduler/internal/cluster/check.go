package cluster

import (
	"slices"

	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/shape"
	"kubus.dev/services/scheduler/internal/topology"
)

// Ask is a pod for which nodes are looked for. View is what other pods have to do with it; it
// is nil for most. UID is "" when any pod of the shape is meant.
type Ask struct {
	Shape *shape.Shape
	Self  *shape.Identity
	View  *topology.View
	UID   string
}

// Ask prepares questions about a pod of the mirror.
func (m *Mirror) Ask(p *shape.Pod) Ask {
	return Ask{Shape: p.Shape, Self: p.Self, View: m.View(p), UID: p.UID}
}

// View is what other pods have to do with a pod.
func (m *Mirror) View(p *shape.Pod) *topology.View { return m.ViewOf(p.Self, p.Shape) }

// ViewOf is View for a pod that is like others.
func (m *Mirror) ViewOf(id *shape.Identity, s *shape.Shape) *topology.View {
	return m.index.View(id, s)
}

// Social tells that some pod says something of others.
func (m *Mirror) Social() bool { return m.index.Social() }

// Ordered tells whether a pod's place holds only behind those that were given theirs before.
func (m *Mirror) Ordered(p *shape.Pod) bool { return m.index.Ordered(p.Self, p.Shape) }

// Loud tells that one of the pods for which room is being made says something of others.
func (m *Mirror) Loud() bool {
	for _, list := range m.nominees {
		for _, r := range list {
			if r.pod.Shape.Terms != nil {
				return true
			}
		}
	}
	return false
}

// Stirred tells whether rules about other pods that refused a pod at a revision may let it
// pass by now.
func (m *Mirror) Stirred(p *shape.Pod, seen plan.Revision) bool {
	return m.index.Stirred(p.Self, p.Shape, seen)
}

// Check applies every rule and gives the first reason against a node. As upstream does, it
// asks twice where room is being made for others that are no less important: the pod must
// fit with them and without them.
func (m *Mirror) Check(a *Ask, i int32) filter.Reason {
	if r := m.plain(a, i); r != filter.OK {
		return r
	}
	return m.Beside(a, i)
}

// Beside is the part of Check that asks what is if those came for whom room is being made.
func (m *Mirror) Beside(a *Ask, i int32) filter.Reason {
	if expected := m.expected(a, i); len(expected) > 0 {
		return m.beside(a, i, expected)
	}
	return filter.OK
}

func (m *Mirror) plain(a *Ask, i int32) filter.Reason {
	return m.judge(a.Shape, &m.nodes[i], a.View, i)
}

// judge applies every rule in upstream's order.
func (m *Mirror) judge(s *shape.Shape, n *node.Node, v *topology.View, i int32) filter.Reason {
	if r := filter.Static(s, n); r != filter.OK {
		return r
	}
	if r := filter.Fit(s, n); r != filter.OK {
		return r
	}
	if m.Claimed(s) {
		return filter.VolumeExclusive
	}
	if r := filter.Volumes(s, n); r != filter.OK {
		return r
	}
	if r := v.Check(i); r != filter.OK {
		return r
	}
	return filter.Declared(s, n)
}

// Claimed tells that another pod has a node, and a claim that only one pod may have.
func (m *Mirror) Claimed(s *shape.Shape) bool {
	return s.Claims != nil && !s.Without(shape.VolumeRestrictions) && slices.ContainsFunc(s.Claims.Sole, func(key string) bool { return m.sole[key] > 0 })
}

// Explain is Check with upstream's sentences for the reason, and whether it can be helped by
// taking pods off the node.
func (m *Mirror) Explain(a *Ask, i int32) filter.Refusal {
	if expected := m.expected(a, i); len(expected) > 0 { // upstream asks this first
		if reason := m.beside(a, i, expected); reason != filter.OK {
			n := m.with(i, expected)
			return filter.Refuse(reason, a.Shape, &n)
		}
	}
	n := m.nodes[i]
	reason := m.plain(a, i)
	return filter.Refuse(reason, a.Shape, &n)
}

// Fits is Check without what is asked of labels, taints and other pods.
func (m *Mirror) Fits(a *Ask, i int32) bool {
	n := &m.nodes[i]
	if filter.Fit(a.Shape, n) != filter.OK || filter.Volumes(a.Shape, n) != filter.OK {
		return false
	}
	if len(m.nominees) == 0 {
		return true
	}
	expected := m.expected(a, i)
	if len(expected) == 0 {
		return true
	}
	with := m.with(i, expected)
	return filter.Fit(a.Shape, &with) == filter.OK
}

// expected are the pods, no less important, for which room is made on a node.
func (m *Mirror) expected(a *Ask, i int32) []*record {
	var out []*record
	for _, r := range m.nominees[i] {
		if r.node == none && r.pod.UID != a.UID && r.pod.Shape.Priority >= a.Shape.Priority {
			out = append(out, r)
		}
	}
	return out
}

func (m *Mirror) with(i int32, more []*record) node.Node {
	n := m.nodes[i].Copy()
	for _, r := range more {
		n.Take(r.pod.Shape)
	}
	return n
}

// beside judges a node as if the pods that are expected there ran there.
func (m *Mirror) beside(a *Ask, i int32, more []*record) filter.Reason {
	with := m.with(i, more)
	if a.Self == nil {
		return m.judge(a.Shape, &with, nil, i)
	}
	deaf := !m.index.View(a.Self, a.Shape).Listens()
	for _, r := range more {
		m.index.Suppose(r.pod.Self, r.pod.Shape, false, i, 1)
	}
	v := m.index.View(a.Self, a.Shape)
	if deaf {
		v = v.Deaf()
	}
	reason := m.judge(a.Shape, &with, v, i)
	for _, r := range more {
		m.index.Suppose(r.pod.Self, r.pod.Shape, false, i, -1)
	}
	return reason
}
