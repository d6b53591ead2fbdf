package cluster

import (
	"slices"

	"kubus.dev/services/scheduler/internal/shape"
)

// setPod takes over a pod version from the log.
func (m *Mirror) setPod(p *shape.Pod) {
	r := m.pods[p.UID]
	if r == nil {
		if p.Terminal {
			return
		}
		r = &record{pod: p, node: none, nominated: none}
		m.pods[p.UID] = r
		m.index.Join(p.Self, p.Shape)
		m.joinGang(r)
	}
	old := r.pod
	r.pod = p
	if old.Self != p.Self || old.Shape != p.Shape {
		m.index.Join(p.Self, p.Shape)
		defer m.index.Quit(old.Self, old.Shape)
	}
	m.follow(r, old)
	m.settle(r, old)
}

// settle brings a pod to where the log says that it is.
func (m *Mirror) settle(r *record, old *shape.Pod) {
	p := r.pod
	same := old.Shape == p.Shape && old.Self == p.Self && old.Deleting == p.Deleting
	switch {
	case p.Terminal:
		m.unplace(r, old)
		m.nominate(r, none)
		delete(m.pods, p.UID)
		delete(m.doomed, p.UID)
		m.quitGang(r)
		m.index.Quit(p.Self, p.Shape)
	case p.NodeName != "":
		r.assumed, r.held = false, false
		i := m.slot(p.NodeName)
		if r.node == i && same {
			return
		}
		m.unplace(r, old)
		m.place(r, m.slot(p.NodeName))
	case p.Deleting: // the API binds no pod that is being deleted
		m.displace(r, old)
	case p.Shape.HoldsAt() != "":
		m.hold(r, old, same)
	case r.held, r.assumed && old.Shape != p.Shape && old.Shape.Unbound(): // its claims are bound, or could not be: it is looked at again
		m.displace(r, old)
	case r.assumed && !same:
		i := r.node
		m.unplace(r, old)
		if r.assumed = m.nodes[i].Present; r.assumed {
			m.place(r, i)
		}
	}
}

// hold keeps room for a pod on the node where its claims are being bound.
func (m *Mirror) hold(r *record, old *shape.Pod, same bool) {
	i, ok := m.Index(r.pod.Shape.HoldsAt())
	if r.held && ok && r.node == i && same {
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
		m.nominate(r, none)
		delete(m.pods, uid)
		delete(m.doomed, uid)
		m.quitGang(r)
		m.index.Quit(r.pod.Self, r.pod.Shape)
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

// place and unplace keep node, residents, owner group and index together.
func (m *Mirror) place(r *record, i int32) {
	r.node = i
	m.nodes[i].Take(r.pod.Shape)
	r.bed = len(m.residents[i])
	m.residents[i] = append(m.residents[i], r)
	m.index.Enter(r.pod.Self, r.pod.Shape, r.pod.Deleting, i)
	m.claim(r.pod.Shape, 1)
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
	beds := m.residents[i]
	last := beds[len(beds)-1]
	beds[r.bed], last.bed = last, r.bed
	beds[len(beds)-1] = nil
	m.residents[i] = beds[:len(beds)-1]
	m.index.Leave(as.Self, as.Shape, as.Deleting, i)
	m.claim(as.Shape, -1)
	m.count(as, i, -1)
	m.touch(i)
	m.release(i)
}

// claim counts who has claims that only one pod may have.
func (m *Mirror) claim(s *shape.Shape, n int) {
	if s.Claims == nil {
		return
	}
	for _, key := range s.Claims.Sole {
		if m.sole[key] += n; m.sole[key] == 0 {
			delete(m.sole, key)
		}
	}
}

// count keeps where the pods of an owner run; those that are being deleted spread nobody.
func (m *Mirror) count(p *shape.Pod, i, n int32) {
	if p.Owner == "" || p.Deleting {
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

// follow takes over where the log says that room is made for a pod. What Nominate assumed
// stays until the log says something new of it.
func (m *Mirror) follow(r *record, old *shape.Pod) {
	p := r.pod
	if r.wish && p.Nominated == old.Nominated && p.Pending() {
		return
	}
	r.wish = false
	at := none
	if p.Nominated != "" && p.Pending() {
		at = m.slot(p.Nominated)
	}
	m.nominate(r, at)
}

// Nominate keeps room for a pod on a node ahead of the log, against pods that are no more
// important than it. Denominate takes it back.
func (m *Mirror) Nominate(uid string, i int32) {
	if r := m.pods[uid]; r != nil {
		r.wish = true
		m.nominate(r, i)
	}
}

// Denominate makes the log's word count again.
func (m *Mirror) Denominate(uid string) {
	if r := m.pods[uid]; r != nil && r.wish {
		r.wish = false
		m.follow(r, r.pod)
	}
}

func (m *Mirror) nominate(r *record, i int32) {
	if r.nominated == i {
		return
	}
	if was := r.nominated; was != none {
		m.nominees[was] = slices.DeleteFunc(m.nominees[was], func(o *record) bool { return o == r })
		if len(m.nominees[was]) == 0 {
			delete(m.nominees, was)
		}
		m.index.Free(r.pod.Shape)
		m.touch(was)
		r.nominated = none
		m.release(was)
	}
	if i != none {
		r.nominated = i
		m.nominees[i] = append(m.nominees[i], r)
		m.touch(i)
	}
}

// Nominated gives the node where room is made for a pod.
func (m *Mirror) Nominated(uid string) (int32, bool) {
	if r := m.pods[uid]; r != nil && r.nominated != none {
		return r.nominated, true
	}
	return none, false
}
