package topology

import (
	"math"
	"slices"

	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/shape"
)

// View judges nodes for the pods of one shape and identity. It shows the index as it is at
// each call, and is good until a pod joins or quits.
type View struct {
	speaker *speaker // nil: the pod says nothing of others
	citizen *citizen
	forbids []*term // that running pods hold against this one
	worth   []*term
}

// View gives what is to be asked about a pod that has joined, or nil when nothing is: it
// says nothing of others, and nobody that runs says anything of it.
func (x *Index) View(id *shape.Identity, s *shape.Shape) *View {
	c := x.citizens[id]
	if c == nil || len(c.matched) == 0 && s.Terms == nil {
		return nil
	}
	var forbids, worth []*term
	ignores := s.Profile.IgnorePreferred && (s.Terms == nil || len(s.Terms.Preferred) == 0)
	for _, chosen := range c.matched {
		for _, t := range chosen.terms {
			if len(t.forbids.nodes) > 0 && !s.Without(shape.InterPodAffinity) {
				forbids = append(forbids, t)
			}
			if len(t.worth.nodes) > 0 && !ignores {
				worth = append(worth, t)
			}
		}
	}
	var p *speaker
	if s.Terms != nil {
		p = x.speakers[s]
	}
	if p == nil && len(forbids)+len(worth) == 0 {
		return nil
	}
	return &View{speaker: p, citizen: c, forbids: forbids, worth: worth}
}

// Check gives the first reason against a node, in upstream's order: spreading, then the
// pod's affinity, its anti-affinity, that of those who run. A nil View has nothing against it.
func (v *View) Check(at int32) filter.Reason {
	if v == nil {
		return filter.OK
	}
	if p := v.speaker; p != nil {
		for _, s := range p.hard {
			if s.key.at(at) == none {
				return filter.SpreadLabel
			}
			if !s.fits(at) {
				return filter.SpreadSkew
			}
		}
		if !v.near(at) {
			return filter.Affinity
		}
		for _, t := range p.far {
			if n, ok := t.in(at); ok && n > 0 {
				return filter.AntiAffinity
			}
		}
	}
	for _, t := range v.forbids {
		if n, ok := t.forbids.in(at); ok && n > 0 {
			return filter.ExistingAntiAffinity
		}
	}
	return filter.OK
}

// Listens tells whether affinity has a say about the pod: it has required terms of its own, or
// somebody who runs holds one against it. Otherwise upstream leaves its InterPodAffinity out for
// the pod, for those who are only expected on a node too: what they hold against it counts not.
func (v *View) Listens() bool {
	if v == nil {
		return false
	}
	if p := v.speaker; p != nil && (p.affinity != nil || len(p.far) > 0) {
		return true
	}
	return slices.ContainsFunc(v.forbids, func(t *term) bool { return t.forbids.any() })
}

// Demands tells that the pod has hard rules about other pods.
func (v *View) Demands() bool {
	return v != nil && v.speaker != nil && (len(v.speaker.hard) > 0 || v.speaker.affinity != nil || len(v.speaker.far) > 0)
}

// Deaf is the view without what others hold against the pod.
func (v *View) Deaf() *View {
	if v == nil || len(v.forbids) == 0 {
		return v
	}
	deaf := *v
	deaf.forbids = nil
	return &deaf
}

// near is the pod's required affinity: in the domains of all terms there are pods that match
// all terms. The first of pods that want to be together starts anywhere.
func (v *View) near(at int32) bool {
	all := true
	for _, t := range v.speaker.near {
		n, ok := t.in(at)
		if !ok {
			return false
		}
		all = all && n > 0
	}
	return all || v.nobody() && v.citizen.chosenBy(v.speaker.affinity)
}

// nobody tells that no pod in any domain matches the required affinity.
func (v *View) nobody() bool {
	if v.speaker.affinity.total == 0 {
		return true
	}
	for _, t := range v.speaker.near {
		for _, n := range t.by {
			if n > 0 {
				return false
			}
		}
	}
	return true
}

// Attraction is upstream's raw InterPodAffinity score of a node, and whether there is any.
func (v *View) Attraction(at int32) int64 {
	var sum int64
	if v.speaker != nil {
		for _, p := range v.speaker.prefers {
			n, _ := p.in(at)
			sum += n * p.weight
		}
	}
	for _, t := range v.worth {
		n, _ := t.worth.in(at)
		sum += n
	}
	return sum
}

// Attracts tells whether Attraction tells nodes apart.
func (v *View) Attracts() bool {
	return v != nil && (len(v.worth) > 0 || v.speaker != nil && len(v.speaker.prefers) > 0)
}

// Own tells that the pod brings its own spread constraints, so that none are made up for it.
func (v *View) Own() bool {
	return v != nil && v.speaker != nil && len(v.speaker.hard)+len(v.speaker.soft) > 0
}

// Soft tells that there are ScheduleAnyway constraints.
func (v *View) Soft() bool { return v != nil && v.speaker != nil && len(v.speaker.soft) > 0 }

// Costs gives upstream's raw PodTopologySpread score of the nodes that passed the filters:
// by how many pods of the constraints their domains hold, the scarcer the domains the less a
// pod of one counts. Less is better; -1 is a node that lacks a key.
func (v *View) Costs(nodes []int32, out []int64) []int64 {
	soft := v.speaker.soft
	out = out[:0]
	ignored := 0
	for _, at := range nodes {
		out = append(out, 0)
		for _, s := range soft {
			if s.key.at(at) == none && !v.speaker.shape.Terms.System {
				out[len(out)-1] = -1
				ignored++
				break
			}
		}
	}
	sums := make([]float64, len(nodes))
	for _, s := range soft {
		perNode := s.key.name == hostname
		size := len(nodes) - ignored
		if !perNode {
			size = s.distinct(nodes, out)
		}
		weight := math.Log(float64(size + 2))
		for i, at := range nodes {
			if out[i] < 0 || s.key.at(at) == none {
				continue
			}
			pods := s.in(at)
			if perNode {
				pods = s.chosen.nodes[at].live
			}
			sums[i] += float64(pods)*weight + float64(s.MaxSkew-1)
		}
	}
	for i := range out {
		if out[i] == 0 {
			out[i] = int64(math.Round(sums[i]))
		}
	}
	return out
}

const hostname = "kubernetes.io/hostname"

// distinct is how many domains the nodes are in; those without the label, where they are not
// left out, are one more.
func (s *spread) distinct(nodes []int32, costs []int64) int {
	seen := make([]bool, len(s.key.members)+1)
	n := 0
	for i, at := range nodes {
		if d := s.key.at(at) + 1; costs[i] >= 0 && !seen[d] { // none is -1
			seen[d] = true
			n++
		}
	}
	return n
}

// Stirred tells whether something happened, after what was seen at a revision, that could let
// a pod that has joined pass where rules about other pods refused it.
func (x *Index) Stirred(id *shape.Identity, s *shape.Shape, seen plan.Revision) bool {
	c := x.citizens[id]
	if c == nil {
		return false
	}
	if !seen.Covers(c.freed) {
		return true
	}
	for _, chosen := range c.matched {
		if !seen.Covers(chosen.freed) {
			return true
		}
	}
	p := x.speakers[s]
	return s.Terms != nil && p != nil && p.stirred(x, seen)
}

// Ordered tells whether a pod's place holds only behind those that were given theirs before:
// it must be near some of them, or not be one too many, or others count it for that.
func (x *Index) Ordered(id *shape.Identity, s *shape.Shape) bool {
	if s.Terms != nil && len(s.Terms.Hard)+len(s.Terms.Affinity) > 0 {
		return true
	}
	c := x.citizens[id]
	return c != nil && slices.ContainsFunc(c.matched, func(chosen *selection) bool { return chosen.limits > 0 })
}

// Free notes that a pod that was expected somewhere is not any more: what it would have held
// against others counts for nobody now.
func (x *Index) Free(s *shape.Shape) {
	if p := x.speakers[s]; p != nil {
		for _, t := range p.forbids {
			t.chosen.freed = newest(t.chosen.freed, x.Now)
		}
	}
}

func (p *speaker) stirred(x *Index, seen plan.Revision) bool {
	if len(p.hard)+len(p.far) > 0 || p.affinity != nil {
		if !seen.Covers(x.moved) {
			return true
		}
	}
	if p.affinity != nil && (!seen.Covers(p.affinity.raised) || !seen.Covers(p.affinity.lowered) && p.affinity.total == 0) {
		return true
	}
	for _, t := range p.far {
		if !seen.Covers(t.chosen.lowered) {
			return true
		}
	}
	for _, s := range p.hard {
		if !seen.Covers(s.chosen.raised) || !seen.Covers(s.chosen.lowered) {
			return true
		}
	}
	return false
}
