package cluster

import (
	"cmp"
	"slices"

	"kubus.dev/services/scheduler/internal/shape"
)

// Gang is pods that run together or not at all.
type Gang struct {
	Pending []*shape.Pod // without room, the most important first
	Placed  int          // that take room
	Size    int          // how many must
}

func gangKey(p *shape.Pod) string { return p.Namespace + "/" + p.Gang }

// joinGang notes a pod that has joined. Its gang is that of its first version.
func (m *Mirror) joinGang(r *record) {
	if r.gang = r.pod.Gang; r.gang == "" {
		return
	}
	key := gangKey(r.pod)
	if m.gangs[key] == nil {
		m.gangs[key] = map[string]*record{}
	}
	m.gangs[key][r.pod.UID] = r
}

func (m *Mirror) quitGang(r *record) {
	if r.gang == "" {
		return
	}
	key := r.pod.Namespace + "/" + r.gang
	if delete(m.gangs[key], r.pod.UID); len(m.gangs[key]) == 0 {
		delete(m.gangs, key)
	}
}

// GangOf gives the gang of a pod. Its size is the largest that a member names.
func (m *Mirror) GangOf(p *shape.Pod) Gang {
	var g Gang
	for _, r := range m.gangs[gangKey(p)] {
		g.Size = max(g.Size, r.pod.GangSize)
		switch {
		case r.node != none && !r.pod.Deleting:
			g.Placed++
		case r.node == none && r.pod.Pending() && !r.pod.Shape.Gated:
			g.Pending = append(g.Pending, r.pod)
		}
	}
	slices.SortFunc(g.Pending, func(a, b *shape.Pod) int {
		return cmp.Or(cmp.Compare(b.Shape.Priority, a.Shape.Priority), cmp.Compare(a.Name, b.Name))
	})
	return g
}
