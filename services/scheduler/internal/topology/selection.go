package topology

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/shape"
)

// key is a node label whose values are domains, numbered.
type key struct {
	name    string
	of      []int32 // domain by node; none without the label
	ids     map[string]int32
	members []int32  // nodes by domain
	values  []string // by domain
	free    []int32
	tallies []*tally // that count by it
}

const none int32 = -1

func (x *Index) key(name string) *key {
	k := x.keys[name]
	if k == nil {
		k = &key{name: name, ids: map[string]int32{}}
		x.keys[name] = k
		for i, n := range x.nodes {
			k.set(int32(i), domainOf(n, name))
		}
	}
	return k
}

// domainOf gives the value of a node's label, and whether it has it.
func domainOf(n *node.Node, key string) *string {
	if n == nil {
		return nil
	}
	if v, ok := n.Self.Labels[key]; ok {
		return &v
	}
	return nil
}

// at is a node's domain, or none.
func (k *key) at(i int32) int32 {
	if int(i) >= len(k.of) {
		return none
	}
	return k.of[i]
}

// set puts a node into a domain. Numbers of empty domains are used again: by then nothing
// is counted in them.
func (k *key) set(i int32, value *string) {
	for int(i) >= len(k.of) {
		k.of = append(k.of, none)
	}
	if old := k.of[i]; old != none {
		if k.members[old]--; k.members[old] == 0 {
			delete(k.ids, k.values[old])
			k.free = append(k.free, old)
		}
		k.of[i] = none
	}
	if value == nil {
		return
	}
	id, ok := k.ids[*value]
	if !ok {
		if n := len(k.free); n > 0 {
			id, k.free = k.free[n-1], k.free[:n-1]
			k.values[id] = *value
		} else {
			id = int32(len(k.members))
			k.members, k.values = append(k.members, 0), append(k.values, *value)
		}
		k.ids[*value] = id
	}
	k.members[id]++
	k.of[i] = id
}

// relabel moves a node, with all that is counted on it, into another domain.
func (x *Index) relabel(k *key, at int32, n *node.Node) {
	for _, t := range k.tallies {
		t.put(k.at(at), -t.on(at))
	}
	k.set(at, domainOf(n, k.name))
	for _, t := range k.tallies {
		t.put(k.at(at), t.on(at))
	}
}

// tally is numbers by domain; on gives a node's part of them.
type tally struct {
	key *key
	by  []int64
	on  func(at int32) int64
}

func newTally(k *key, on func(int32) int64) *tally {
	t := &tally{key: k, on: on}
	k.tallies = append(k.tallies, t)
	return t
}

func (t *tally) close() {
	t.key.tallies = slices.DeleteFunc(t.key.tallies, func(o *tally) bool { return o == t })
}

func (t *tally) put(domain int32, n int64) {
	if domain == none || n == 0 {
		return
	}
	for int(domain) >= len(t.by) {
		t.by = append(t.by, 0)
	}
	t.by[domain] += n
}

// in is the number of a node's domain, and whether it is in one.
func (t *tally) in(at int32) (int64, bool) {
	d := t.key.at(at)
	if d == none {
		return 0, false
	}
	if int(d) >= len(t.by) {
		return 0, true
	}
	return t.by[d], true
}

// any tells whether a domain has a number.
func (t *tally) any() bool {
	return slices.ContainsFunc(t.by, func(n int64) bool { return n != 0 })
}

// selection is the pods that some selectors choose, all of them.
type selection struct {
	name      string
	selectors []shape.Selector
	users     int
	limits    int // shapes whose required affinity or hard spreading counts these pods
	nodes     map[int32]count
	total     int32
	domains   map[string]*tally // by key: how many are in a domain
	terms     map[string]*term  // by key: who holds terms with this selector
	spreads   []*spread         // constraints that count these pods
	raised    plan.Revision     // when there was one more
	lowered   plan.Revision     // when there was one less
	freed     plan.Revision     // when somebody held less against them
}

func (s *selection) matches(id *shape.Identity, space labels.Set) bool {
	return !slices.ContainsFunc(s.selectors, func(one shape.Selector) bool { return !one.Matches(id, space) })
}

// use finds or makes a selection; each use is ended by drop.
func (x *Index) use(selectors ...shape.Selector) *selection {
	names := make([]string, len(selectors))
	for i := range selectors {
		names[i] = selectors[i].Name
	}
	name := strings.Join(names, "\x01")
	s := x.selections[name]
	if s == nil {
		s = &selection{name: name, selectors: selectors, nodes: map[int32]count{}, domains: map[string]*tally{}, terms: map[string]*term{}}
		x.selections[name] = s
		x.found(s)
	}
	s.users++
	return s
}

// found lets a new selection choose among the pods that are there.
func (x *Index) found(s *selection) {
	spaces := s.spaces()
	if spaces == nil {
		x.wide = append(x.wide, s)
		for _, c := range x.citizens {
			if s.matches(c.id, x.spaces[c.id.Namespace]) {
				x.choose(s, c, true)
			}
		}
		return
	}
	for _, name := range spaces {
		x.local[name] = append(x.local[name], s)
		for _, c := range x.towns[name] {
			if s.matches(c.id, x.spaces[name]) {
				x.choose(s, c, true)
			}
		}
	}
}

// spaces are the only namespaces that the selection is about, nil when labels decide.
func (s *selection) spaces() []string {
	for i := range s.selectors {
		if s.selectors[i].Spaces == nil {
			return append([]string{}, s.selectors[i].Namespaces...)
		}
	}
	return nil
}

func (c *citizen) chosenBy(s *selection) bool { return slices.Contains(c.matched, s) }

// choose adds pods of one identity to a selection, or takes them out.
func (x *Index) choose(s *selection, c *citizen, in bool) {
	sign := int32(1)
	if in {
		c.matched = append(c.matched, s)
	} else {
		sign = -1
		c.matched = slices.DeleteFunc(c.matched, func(o *selection) bool { return o == s })
		c.freed = newest(c.freed, x.Now)
	}
	for at, n := range c.nodes {
		s.add(x, at, count{n.all * sign, n.live * sign})
	}
}

func (x *Index) drop(s *selection) {
	if s.users--; s.users > 0 {
		return
	}
	delete(x.selections, s.name)
	gone := func(o *selection) bool { return o == s }
	for _, t := range s.domains {
		t.close()
	}
	if spaces := s.spaces(); spaces == nil {
		x.wide = slices.DeleteFunc(x.wide, gone)
		for _, c := range x.citizens {
			c.unmatch(s)
		}
	} else {
		for _, name := range spaces {
			if x.local[name] = slices.DeleteFunc(x.local[name], gone); len(x.local[name]) == 0 {
				delete(x.local, name)
			}
			for _, c := range x.towns[name] {
				c.unmatch(s)
			}
		}
	}
}

// unmatch forgets a selection that is no more, but not what it last did.
func (c *citizen) unmatch(s *selection) {
	if i := slices.Index(c.matched, s); i >= 0 {
		c.matched = slices.Delete(c.matched, i, i+1)
		c.freed = newest(c.freed, s.freed)
	}
}

// by gives how many of the selection are in each domain of a key.
func (x *Index) by(s *selection, name string) *tally {
	t := s.domains[name]
	if t == nil {
		k := x.key(name)
		t = newTally(k, func(at int32) int64 { return int64(s.nodes[at].all) })
		for at, n := range s.nodes {
			t.put(k.at(at), int64(n.all))
		}
		s.domains[name] = t
	}
	return t
}

// add counts pods on a node, or takes them away.
func (s *selection) add(x *Index, at int32, by count) {
	n := s.nodes[at]
	n.all, n.live = n.all+by.all, n.live+by.live
	if n == (count{}) {
		delete(s.nodes, at)
	} else {
		s.nodes[at] = n
	}
	s.total += by.all
	for _, t := range s.domains {
		t.put(t.key.at(at), int64(by.all))
	}
	for _, p := range s.spreads {
		p.add(at, by.live)
	}
	if by.all > 0 {
		s.raised = newest(s.raised, x.Now)
	} else {
		s.lowered = newest(s.lowered, x.Now)
	}
}

func newest(a, b plan.Revision) plan.Revision {
	return plan.Revision{Pods: max(a.Pods, b.Pods), Nodes: max(a.Nodes, b.Nodes), Volumes: max(a.Volumes, b.Volumes), Spaces: max(a.Spaces, b.Spaces)}
}
