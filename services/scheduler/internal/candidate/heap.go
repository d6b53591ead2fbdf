package candidate

import "kubus.dev/services/scheduler/internal/node"

// zoneOf is the zone of a node, "" when it has none or is not there.
func zoneOf(n *node.Node) string {
	if n.Class == nil {
		return ""
	}
	return n.Class.Zone
}

// zoneIndex finds or makes a zone.
func (s *Set) zoneIndex(name string) int32 {
	for i := range s.zones {
		if s.zones[i].name == name {
			return int32(i)
		}
	}
	s.zones = append(s.zones, zone{name: name})
	return int32(len(s.zones) - 1)
}

func (s *Set) insert(i, at int32, points int64) {
	z := &s.zones[at]
	z.heap = append(z.heap, entry{points, i})
	s.nodes[i].zone, s.nodes[i].at = at, int32(len(z.heap)-1)
	s.total++
	s.up(z, s.nodes[i].at)
}

func (s *Set) remove(i int32) {
	z := &s.zones[s.nodes[i].zone]
	at, last := s.nodes[i].at, int32(len(z.heap)-1)
	s.swap(z, at, last)
	z.heap = z.heap[:last]
	s.nodes[i].zone = none
	s.total--
	if at < last {
		s.fix(z, at)
	}
}

func (s *Set) fix(z *zone, at int32) {
	if !s.down(z, at) {
		s.up(z, at)
	}
}

func (s *Set) up(z *zone, at int32) {
	for at > 0 {
		parent := (at - 1) / 2
		if z.heap[parent].score >= z.heap[at].score {
			return
		}
		s.swap(z, at, parent)
		at = parent
	}
}

func (s *Set) down(z *zone, at int32) (moved bool) {
	for {
		child := 2*at + 1
		if child >= int32(len(z.heap)) {
			return moved
		}
		if right := child + 1; right < int32(len(z.heap)) && z.heap[right].score > z.heap[child].score {
			child = right
		}
		if z.heap[at].score >= z.heap[child].score {
			return moved
		}
		s.swap(z, at, child)
		at, moved = child, true
	}
}

func (s *Set) swap(z *zone, a, b int32) {
	z.heap[a], z.heap[b] = z.heap[b], z.heap[a]
	s.nodes[z.heap[a].node].at, s.nodes[z.heap[b].node].at = a, b
}
