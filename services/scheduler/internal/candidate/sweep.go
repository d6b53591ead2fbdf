package candidate

import (
	"math"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/score"
	"kubus.dev/services/scheduler/internal/shape"
)

// Sweep finds nodes for pods that other pods have something to do with, and for any pods where
// there are few nodes: its scores are upstream's to the point. What a node is
// worth by itself is kept and repaired as in a Set; the rules about other pods are asked, and
// what is measured by the other candidates is measured,
// anew for each placement, of numbers that are there already: it looks at every node, at no
// pod. Not safe for concurrent use, and only good with the mirror it was made for.
type Sweep struct {
	judge
	position uint64
	built    bool
	base     []int64        // by node, with the random bits
	raw      []score.Static // by node
	fits     []bool         // by node

	nodes  []int32 // that passed, as of the last Best
	totals []int64 // theirs
	costs  []int64 // scratch
}

// NewSweep makes the sweep for pods like this one. Pods of owner are spread as upstream's
// default constraints do, unless the pod has its own.
func NewSweep(m *cluster.Mirror, p *shape.Pod, owner string, seed uint64) *Sweep {
	return &Sweep{judge: newJudge(m, cluster.Ask{Shape: p.Shape, Self: p.Self}, owner, seed)}
}

// Best gives the node for the next pod, or false when none can take it.
func (s *Sweep) Best() (int32, bool) {
	s.repair()
	s.ask.View = s.mirror.ViewOf(s.ask.Self, s.ask.Shape)
	s.pass()
	if len(s.nodes) == 0 {
		return 0, false
	}
	s.score()
	return s.nodes[s.highest()], true
}

// Others appends the next best nodes, up to n.
func (s *Sweep) Others(dst []int32, n int) []int32 {
	for ; n > 0 && len(s.nodes) > 1; n-- {
		at, last := s.highest(), len(s.nodes)-1
		s.nodes[at], s.totals[at] = s.nodes[last], s.totals[last]
		s.nodes, s.totals = s.nodes[:last], s.totals[:last]
		dst = append(dst, s.nodes[s.highest()])
	}
	return dst
}

func (s *Sweep) highest() int {
	best := 0
	for i, points := range s.totals {
		if points > s.totals[best] {
			best = i
		}
	}
	return best
}

func (s *Sweep) repair() {
	changed, ok := s.mirror.Since(s.position)
	if !s.built || !ok || len(changed) > s.mirror.Slots()+64 || len(s.class) > s.mirror.Slots()+16 {
		s.base, s.raw, s.fits = s.base[:0], s.raw[:0], s.fits[:0]
		s.survey()
		s.each(s.update)
		s.built = true
	} else {
		for _, i := range changed {
			s.update(i)
		}
	}
	s.position = s.mirror.Position()
}

func (s *Sweep) update(i int32) {
	for int(i) >= len(s.base) {
		s.base, s.raw, s.fits = append(s.base, 0), append(s.raw, score.Static{}), append(s.fits, false)
	}
	s.base[i], s.raw[i], s.fits[i] = s.points(i, s.mirror.Node(i))
}

// pass asks the rules about other pods.
func (s *Sweep) pass() {
	s.nodes = s.nodes[:0]
	// Where room is being made for a pod that these rules are about, they are asked twice.
	whole := s.mirror.Loud() || s.ask.View.Demands()
	for i, ok := range s.fits {
		if !ok {
			continue
		}
		reason := s.ask.View.Check(int32(i))
		if reason == filter.OK && whole {
			reason = s.mirror.Beside(&s.ask, int32(i))
		}
		if reason == filter.OK {
			s.nodes = append(s.nodes, int32(i))
		}
	}
}

// score adds what is measured by the other nodes that passed, and what other pods make of them.
func (s *Sweep) score() {
	s.totals = s.totals[:0]
	var most score.Static
	for _, i := range s.nodes {
		most = most.Most(s.raw[i])
	}
	for _, i := range s.nodes {
		s.totals = append(s.totals, s.base[i]+s.raw[i].Points(s.weights(), most)<<jitterBits)
	}
	switch v := s.ask.View; {
	case v.Soft():
		s.costs = v.Costs(s.nodes, s.costs)
		s.add(score.Spreading(s.weights(), s.costs))
	case s.owner != "" && !v.Own():
		s.add(score.Spreading(s.weights(), s.owned()))
	}
	if v := s.ask.View; v.Attracts() {
		s.costs = s.costs[:0]
		for _, i := range s.nodes {
			s.costs = append(s.costs, v.Attraction(i))
		}
		s.add(score.Attraction(s.weights(), s.costs))
	}
}

func (s *Sweep) weights() *shape.Weights { return &s.ask.Shape.Profile.Weights }

func (s *Sweep) add(points []int64) {
	for i := range points {
		s.totals[i] += points[i] << jitterBits
	}
}

// owned is the cost of upstream's default constraints (host name with maxSkew 3, zone with
// maxSkew 5) over the pods of the owner. A node that lacks a label is spared its constraint;
// those without a zone count as one.
func (s *Sweep) owned() []int64 {
	zones := map[string]int64{}
	for _, i := range s.nodes {
		zones[zoneOf(s.mirror.Node(i))] = 0
	}
	s.mirror.OwnerNodes(s.owner, func(i, pods int32) {
		n := s.mirror.Node(i)
		if _, known := zones[zoneOf(n)]; known && n.Present && s.ask.Shape.MatchesNode(n.Self) {
			zones[zoneOf(n)] += int64(pods)
		}
	})
	s.costs = s.costs[:0]
	for _, i := range s.nodes {
		n, cost := s.mirror.Node(i), 0.0
		if _, named := n.Self.Labels[corev1.LabelHostname]; named {
			cost += score.Domain(int64(s.mirror.OnNode(s.owner, i)), 3, len(s.nodes))
		}
		if name := zoneOf(n); name != "" {
			cost += score.Domain(zones[name], 5, len(zones))
		}
		s.costs = append(s.costs, int64(math.Round(cost)))
	}
	return s.costs
}
