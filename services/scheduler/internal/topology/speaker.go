package topology

import (
	"slices"

	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/shape"
)

// term is what running pods hold against, or for, the pods that a selection chooses, by
// domain of one key.
type term struct {
	chosen  *selection
	users   int
	forbids holding // how many have it as required anti-affinity
	worth   holding // sum of the weights of their preferences
}

// holding is numbers by node and by domain.
type holding struct {
	nodes map[int32]int64
	*tally
}

func newHolding(k *key) holding {
	nodes := map[int32]int64{}
	return holding{nodes: nodes, tally: newTally(k, func(at int32) int64 { return nodes[at] })}
}

func (h *holding) add(at int32, n int64) {
	if h.nodes[at] += n; h.nodes[at] == 0 {
		delete(h.nodes, at)
	}
	h.put(h.key.at(at), n)
}

// speaker is a shape that says something of other pods.
type speaker struct {
	shape *shape.Shape
	pods  int // that have the shape

	affinity *selection // of all required terms together; nil for none
	near     []*tally   // by the keys of the required terms
	far      []against
	prefers  []preference
	forbids  []*term
	attracts []attraction
	hard     []*spread
	soft     []*spread
	used     []*selection
}

type against struct {
	chosen *selection
	*tally
}

type preference struct {
	*tally
	weight int64
}

type attraction struct {
	*term
	weight int64
}

func (x *Index) speaker(s *shape.Shape) *speaker {
	p := x.speakers[s]
	if p != nil {
		return p
	}
	p = &speaker{shape: s}
	x.speakers[s] = p
	x.social = true
	t := s.Terms
	if len(t.Affinity) > 0 {
		var all []shape.Selector
		for i := range t.Affinity {
			all = append(all, t.Affinity[i].Selector)
		}
		p.affinity = p.uses(x.use(all...))
		for i := range t.Affinity {
			if by := x.by(p.affinity, t.Affinity[i].Key); !slices.Contains(p.near, by) {
				p.near = append(p.near, by)
			}
		}
	}
	for i := range t.AntiAffinity {
		chosen := p.uses(x.use(t.AntiAffinity[i].Selector))
		p.far = append(p.far, against{chosen, x.by(chosen, t.AntiAffinity[i].Key)})
		p.forbids = append(p.forbids, chosen.term(x, t.AntiAffinity[i].Key))
	}
	for i := range t.Preferred {
		chosen := p.uses(x.use(t.Preferred[i].Selector))
		p.prefers = append(p.prefers, preference{x.by(chosen, t.Preferred[i].Key), t.Preferred[i].Weight})
	}
	for i := range t.Attracts {
		chosen := p.uses(x.use(t.Attracts[i].Selector))
		p.attracts = append(p.attracts, attraction{chosen.term(x, t.Attracts[i].Key), t.Attracts[i].Weight})
	}
	p.hard, p.soft = p.spreads(x, t.Hard), p.spreads(x, t.Soft)
	p.limit(1)
	for i := range x.nodes {
		p.count(x, int32(i), 1)
	}
	return p
}

// limit notes which pods decide where this shape may run.
func (p *speaker) limit(sign int) {
	if p.affinity != nil {
		p.affinity.limits += sign
	}
	for _, s := range p.hard {
		s.chosen.limits += sign
	}
}

func (p *speaker) uses(s *selection) *selection {
	p.used = append(p.used, s)
	return s
}

// term finds or makes what is held with this selector by a key.
func (s *selection) term(x *Index, name string) *term {
	t := s.terms[name]
	if t == nil {
		k := x.key(name)
		t = &term{chosen: s, forbids: newHolding(k), worth: newHolding(k)}
		s.terms[name] = t
	}
	t.users++
	return t
}

// silence forgets a speaker that no pod is any more.
func (x *Index) silence(p *speaker) {
	delete(x.speakers, p.shape)
	p.limit(-1)
	for _, s := range slices.Concat(p.hard, p.soft) {
		s.chosen.spreads = slices.DeleteFunc(s.chosen.spreads, func(o *spread) bool { return o == s })
		if space := s.space(); s.Empty {
			if x.empty[space] = slices.DeleteFunc(x.empty[space], func(o *spread) bool { return o == s }); len(x.empty[space]) == 0 {
				delete(x.empty, space)
			}
		}
	}
	for _, t := range p.forbids {
		t.users--
	}
	for _, a := range p.attracts {
		a.users--
	}
	for _, s := range p.used {
		for name, t := range s.terms {
			if t.users == 0 {
				t.forbids.close()
				t.worth.close()
				delete(s.terms, name)
			}
		}
		x.drop(s)
	}
}

// hold counts what a pod of the shape on a node holds against and for others.
func (p *speaker) hold(x *Index, at, sign int32) {
	for _, t := range p.forbids {
		t.forbids.add(at, int64(sign))
		if sign < 0 {
			t.chosen.freed = newest(t.chosen.freed, x.Now)
		}
	}
	for _, a := range p.attracts {
		a.worth.add(at, int64(sign)*a.weight)
	}
}

// spread is a constraint with the pods that it counts: those on nodes that have all keys of
// the shape's constraints and that the policies let in.
type spread struct {
	*shape.Spread
	chosen  *selection
	key     *key
	counts  []bool  // by node: it is looked at
	by      []int32 // by domain: pods
	members []int32 // by domain: nodes that are looked at
	domains int32   // that have such nodes
	least   int32   // fewest pods of a domain
	known   bool    // least is
}

// space is the namespace of the pods that the constraint is about.
func (s *spread) space() string { return s.Selector.Namespaces[0] }

func (p *speaker) spreads(x *Index, list []shape.Spread) []*spread {
	var out []*spread
	for i := range list {
		s := &spread{Spread: &list[i], chosen: p.uses(x.use(list[i].Selector)), key: x.key(list[i].Key)}
		s.chosen.spreads = append(s.chosen.spreads, s)
		if space := s.space(); s.Empty {
			x.empty[space] = append(x.empty[space], s)
		}
		out = append(out, s)
	}
	return out
}

// count takes a node in, or out before it changes.
func (p *speaker) count(x *Index, at, sign int32) {
	if len(p.hard)+len(p.soft) == 0 {
		return
	}
	for i, group := range [][]*spread{p.hard, p.soft} {
		there := sign > 0 && x.nodes[at] != nil
		each := i == 1 && p.shape.Terms.System
		all := there && (each || !slices.ContainsFunc(group, func(s *spread) bool { return s.key.at(at) == none }))
		for _, s := range group {
			s.set(at, all && s.key.at(at) != none && p.eligible(x, s, at))
		}
	}
}

func (p *speaker) eligible(x *Index, s *spread, at int32) bool {
	n := x.nodes[at]
	return (!s.HonorNodes || p.shape.MatchesNode(n.Self)) && (!s.HonorTaints || filter.Taints(p.shape, n) == filter.OK)
}

func (s *spread) set(at int32, in bool) {
	for int(at) >= len(s.counts) {
		s.counts = append(s.counts, false)
	}
	if s.counts[at] == in {
		return
	}
	s.counts[at], s.known = in, false
	d := s.key.at(at)
	for int(d) >= len(s.by) {
		s.by, s.members = append(s.by, 0), append(s.members, 0)
	}
	if live := s.chosen.nodes[at].live; in {
		s.by[d] += live
		if s.members[d]++; s.members[d] == 1 {
			s.domains++
		}
	} else {
		s.by[d] -= live
		if s.members[d]--; s.members[d] == 0 {
			s.domains--
		}
	}
}

// add counts pods on a node, or takes them away.
func (s *spread) add(at, n int32) {
	if n != 0 && int(at) < len(s.counts) && s.counts[at] {
		s.by[s.key.at(at)] += n
		s.known = false
	}
}

// fewest is the pods of the domain with the fewest; too few domains count as an empty one.
func (s *spread) fewest() int32 {
	if s.domains < s.MinDomains || s.domains == 0 {
		return 0
	}
	if !s.known {
		s.known, s.least = true, -1
		for d, pods := range s.by {
			if s.members[d] > 0 && (s.least < 0 || pods < s.least) {
				s.least = pods
			}
		}
	}
	return s.least
}

// in is the pods of a node's domain.
func (s *spread) in(at int32) int32 {
	if d := s.key.at(at); d != none && int(d) < len(s.by) {
		return s.by[d]
	}
	return 0
}

// fits tells whether one more pod keeps the skew.
func (s *spread) fits(at int32) bool {
	one := int32(0)
	if s.Self {
		one = 1
	}
	return s.in(at)+one-s.fewest() <= s.MaxSkew
}
