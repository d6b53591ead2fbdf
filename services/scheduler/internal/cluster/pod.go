package cluster

import "kubus.dev/services/scheduler/internal/shape"

// setPod takes over a pod version from the log.
func (m *Mirror) setPod(p *shape.Pod) {
	r := m.pods[p.UID]
	if r == nil {
		if p.Terminal {
			return
		}
		r = &record{pod: p, node: none}
		m.pods[p.UID] = r
	}
	old := r.pod
	r.pod = p
	switch {
	case p.Terminal:
		m.unplace(r, old)
		delete(m.pods, p.UID)
	case p.NodeName != "":
		r.assumed, r.held = false, false
		i := m.slot(p.NodeName)
		if r.node == i && old.Shape == p.Shape {
			return
		}
		m.unplace(r, old)
		m.place(r, m.slot(p.NodeName))
	case p.Deleting: // the API binds no pod that is being deleted
		m.displace(r, old)
	case p.Shape.HoldsAt() != "":
		m.hold(r, old)
	case r.held, r.assumed && old.Shape != p.Shape && old.Shape.Unbound(): // its claims are bound, or could not be: it is looked at again
		m.displace(r, old)
	case r.assumed && old.Shape != p.Shape:
		i := r.node
		m.unplace(r, old)
		if r.assumed = m.nodes[i].Present; r.assumed {
			m.place(r, i)
		}
	}
}

// hold keeps room for a pod on the node where its claims are being bound.
func (m *Mirror) hold(r *record, old *shape.Pod) {
	i, ok := m.Index(r.pod.Shape.HoldsAt())
	if r.held && ok && r.node == i && old.Shape == r.pod.Shape {
		return
	}
	m.displace(r, old)
	if ok && m.nodes[i].Present {
		m.place(r, i)
		r.held = true
	}
}

// displace takes a pod off the node that the log does not say it is on.
func (m *Mirror) displace(r *record, as *shape.Pod) {
	if r.assumed || r.held {
		m.unplace(r, as)
		r.assumed, r.held = false, false
	}
}

func (m *Mirror) dropPod(uid string) {
	if r := m.pods[uid]; r != nil {
		m.unplace(r, r.pod)
		delete(m.pods, uid)
	}
}

// Assume puts a pending pod on a node ahead of the log. Apply confirms it, Forget
// takes it back. A pod that already takes room stays where it is.
func (m *Mirror) Assume(uid string, i int32) bool {
	r := m.pods[uid]
	if r == nil || r.node != none {
		return false
	}
	m.place(r, i)
	r.assumed = true
	return true
}

// Forget takes an assumption back; what the log has confirmed stays.
func (m *Mirror) Forget(uid string) {
	if r := m.pods[uid]; r != nil && r.assumed {
		m.unplace(r, r.pod)
		r.assumed = false
	}
}

// place and unplace keep node, owner group and priorities together.
func (m *Mirror) place(r *record, i int32) {
	r.node = i
	m.nodes[i].Take(r.pod.Shape)
	m.count(r.pod, i, 1)
	m.touch(i)
}

func (m *Mirror) unplace(r *record, as *shape.Pod) {
	if r.node == none {
		return
	}
	i := r.node
	r.node = none
	m.nodes[i].Give(as.Shape)
	m.count(as, i, -1)
	m.touch(i)
	m.release(i)
}

func (m *Mirror) count(p *shape.Pod, i, n int32) {
	if byPriority := m.priorities[i]; byPriority == nil {
		m.priorities[i] = map[int32]int32{p.Shape.Priority: n}
	} else if byPriority[p.Shape.Priority] += n; byPriority[p.Shape.Priority] == 0 {
		delete(byPriority, p.Shape.Priority)
	}
	if p.Owner == "" {
		return
	}
	g := m.groups[p.Owner]
	if g == nil {
		g = &group{byNode: map[int32]int32{}}
		m.groups[p.Owner] = g
	}
	g.pods += n
	if g.byNode[i] += n; g.byNode[i] == 0 {
		delete(g.byNode, i)
	}
	if g.pods == 0 {
		delete(m.groups, p.Owner)
	}
}

// HoldsLower tells whether pods of lower priority take room on a node.
func (m *Mirror) HoldsLower(i, priority int32) bool {
	for p := range m.priorities[i] {
		if p < priority {
			return true
		}
	}
	return false
}
