// Package candidate keeps, for one scheduling group, all nodes that can take one
// more of its pods, best first. Placing a pod is: take the best, rescore that one
// node. The set is kept between evaluations and repaired from the mirror's log of
// changed nodes, so its cost follows the changes and not the size of the cluster.
//
// Start with Set.Best. Nodes are grouped by zone, since a zone's own score changes
// for all its nodes at once; in a zone they form a heap. Where other pods have to do with
// the matter, one placement may change the worth of any node: there is Sweep.
package candidate

import (
	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/score"
	"kubus.dev/services/scheduler/internal/shape"
)

// Set is not safe for concurrent use, and only good with the mirror it was made for.
type Set struct {
	judge
	position uint64 // of the mirror's log
	built    bool

	zones []zone
	nodes []place // by node
	total int
}

// place is what the set keeps of a node.
type place struct {
	zone    int32 // whose heap it is in; none when it is no candidate
	at      int32 // where in the heap
	pods    int32 // of the owner, as counted in the zone below
	counted int32 // zone that counts them
}

// zone is a heap of candidates, the best at 0.
type zone struct {
	name string
	heap []entry
	pods int64 // of the owner
}

type entry struct {
	score int64
	node  int32
}

const none int32 = -1

// jitterBits is the room for randomness below the smallest step of a score.
const jitterBits = 8

// New makes the set of a shape's candidates. Pods of owner, if given, are spread
// over nodes and zones. Equal nodes are told apart by seed, so that several
// workers do not all choose the same one.
func New(m *cluster.Mirror, s *shape.Shape, owner string, seed uint64) *Set {
	return &Set{judge: newJudge(m, cluster.Ask{Shape: s}, owner, seed)}
}

// Len is the number of candidates as of the last Repair.
func (s *Set) Len() int { return s.total }

// Best gives the node for the next pod, or false when none can take it. The
// caller places the pod in the mirror; the next call sees that by itself.
func (s *Set) Best() (int32, bool) {
	s.Repair()
	z := s.bestZone()
	if z == none {
		return 0, false
	}
	return s.zones[z].heap[0].node, true
}

// Others appends up to n further candidates, good ones though not in order: what
// the planner tries when the best is taken meanwhile.
func (s *Set) Others(dst []int32, n int) []int32 {
	best := s.bestZone()
	for i := range s.zones {
		z := &s.zones[(int(max(best, 0))+i)%len(s.zones)]
		from := 0
		if i == 0 {
			from = 1
		}
		for j := from; j < len(z.heap) && n > 0; j++ {
			dst = append(dst, z.heap[j].node)
			n--
		}
	}
	return dst
}

func (s *Set) bestZone() int32 {
	if len(s.zones) == 1 && len(s.zones[0].heap) > 0 {
		return 0
	}
	var most, fewest int64
	for i := range s.zones {
		most = max(most, s.zones[i].pods)
		if i == 0 || s.zones[i].pods < fewest {
			fewest = s.zones[i].pods
		}
	}
	best, at := int64(0), none
	for i := range s.zones {
		z := &s.zones[i]
		if len(z.heap) == 0 {
			continue
		}
		points := z.heap[0].score
		if s.owner != "" && z.name != "" {
			points += score.Zone(&s.ask.Shape.Profile.Weights, z.pods, fewest, most) << jitterBits
		}
		if at == none || points > best {
			best, at = points, int32(i)
		}
	}
	return at
}

// Repair takes in what changed in the mirror since the last call.
func (s *Set) Repair() {
	changed, ok := s.mirror.Since(s.position)
	if !s.built || !ok || len(changed) > s.mirror.Slots()+64 || len(s.class) > s.mirror.Slots()+16 {
		s.build()
		return
	}
	for _, i := range changed {
		s.update(i)
	}
	s.position = s.mirror.Position()
}

// build looks at every node, or at the pinned ones.
func (s *Set) build() {
	s.zones, s.nodes, s.total = s.zones[:0], s.nodes[:0], 0
	s.survey()
	s.each(s.update)
	s.position, s.built = s.mirror.Position(), true
}

// update looks at one node again.
func (s *Set) update(i int32) {
	for int(i) >= len(s.nodes) {
		s.nodes = append(s.nodes, place{zone: none, counted: none})
	}
	n := s.mirror.Node(i)
	p := &s.nodes[i]
	if s.owner != "" {
		s.recount(p, n, s.mirror.OnNode(s.owner, i))
	}
	points, raw, ok := s.points(i, n)
	points += raw.Points(&s.ask.Shape.Profile.Weights, s.most) << jitterBits
	if s.owner != "" {
		points += score.Spread(&s.ask.Shape.Profile.Weights, p.pods) << jitterBits
	}
	switch {
	case p.zone == none && ok:
		s.insert(i, s.zoneIndex(n.Class.Zone), points)
	case p.zone != none && !ok:
		s.remove(i)
	case p.zone != none && s.zones[p.zone].name != n.Class.Zone:
		s.remove(i)
		s.insert(i, s.zoneIndex(n.Class.Zone), points)
	case p.zone != none:
		z := &s.zones[p.zone]
		z.heap[p.at].score = points
		s.fix(z, p.at)
	}
}

// recount keeps the zones' numbers of the owner's pods.
func (s *Set) recount(p *place, n *node.Node, pods int32) {
	if p.counted != none {
		s.zones[p.counted].pods -= int64(p.pods)
	}
	p.pods, p.counted = pods, none
	if n.Present {
		p.counted = s.zoneIndex(n.Class.Zone)
		s.zones[p.counted].pods += int64(pods)
	}
}
