package filter

import (
	"maps"
	"slices"
)

// Kind is what a set is of, in nft's words.
type Kind string

// The kinds of sets there are.
const (
	Addresses Kind = "ipv4_addr"
	Pairs     Kind = "ipv4_addr . ipv4_addr"
	Ends      Kind = "ipv4_addr . inet_proto . inet_service"
)

// Set is a set, or a map from addresses to verdicts.
type Set struct {
	Name    string
	Kind    Kind
	Ranges  bool // elements may be ranges
	Verdict bool // a map

	want, kernel map[string]string // elements and their verdicts
	touched      map[string]struct{}
	gone         bool
}

func (s *Set) put(key, verdict string) {
	s.want[key] = verdict
	s.touched[key] = struct{}{}
}

func (s *Set) remove(key string) {
	delete(s.want, key)
	s.touched[key] = struct{}{}
}

// content is what the table should hold, beside what it was last told.
type content struct {
	sets   map[string]*Set
	chains map[string][]string // rules
	kernel map[string][]string // the chains that are there
	stale  map[string]struct{} // chains to look at
	dirty  map[string]struct{} // sets to look at
}

func newContent() content {
	return content{
		sets: map[string]*Set{}, chains: map[string][]string{}, kernel: map[string][]string{},
		stale: map[string]struct{}{}, dirty: map[string]struct{}{},
	}
}

// set gives the set of that name, made if there is none.
func (c *content) set(name string, kind Kind, ranges, verdict bool) *Set {
	s := c.sets[name]
	if s == nil {
		s = &Set{Name: name, Kind: kind, Ranges: ranges, Verdict: verdict,
			want: map[string]string{}, touched: map[string]struct{}{}}
		c.sets[name] = s
	} else if s.gone { // and back: with other elements, perhaps
		s.gone = false
	}
	c.dirty[name] = struct{}{}
	return s
}

// drop takes a set away, with its elements.
func (c *content) drop(s *Set) {
	s.gone = true
	for key := range s.want {
		s.remove(key)
	}
	c.dirty[s.Name] = struct{}{}
}

func (c *content) put(s *Set, key, verdict string) {
	if was, there := s.want[key]; there && was == verdict {
		return
	}
	s.put(key, verdict)
	c.dirty[s.Name] = struct{}{}
}

func (c *content) remove(s *Set, key string) {
	if _, there := s.want[key]; !there {
		return
	}
	s.remove(key)
	c.dirty[s.Name] = struct{}{}
}

// chain asks for a chain's rules; nil takes it away.
func (c *content) chain(name string, rules []string) {
	if rules == nil {
		delete(c.chains, name)
	} else {
		c.chains[name] = rules
	}
	c.stale[name] = struct{}{}
}

// Delta is what must be written, in the order of its fields: each refers to what is written
// before it. Slices are sorted.
type Delta struct {
	NewSets   []*Set // without elements
	NewChains []string
	// Elements to take out of sets and maps, then to put in.
	Less, More []Element
	// Rules of the chains that are to be emptied and filled.
	Rules []Chain
	// What nothing refers to any more. A chain is emptied first.
	OldChains []string
	OldSets   []*Set
}

// Element of a set or a map.
type Element struct {
	Set          *Set
	Key, Verdict string
}

// Chain is a chain's name and rules.
type Chain struct {
	Name  string
	Rules []string
}

// Empty tells that there is nothing to write.
func (d *Delta) Empty() bool {
	return len(d.NewSets)+len(d.NewChains)+len(d.Less)+len(d.More)+len(d.Rules)+len(d.OldChains)+len(d.OldSets) == 0
}

// Sets is how many sets a delta touches.
func (d *Delta) Sets() int {
	names := map[string]struct{}{}
	for _, list := range [][]Element{d.Less, d.More} {
		for _, e := range list {
			names[e.Set.Name] = struct{}{}
		}
	}
	for _, s := range append(slices.Clone(d.NewSets), d.OldSets...) {
		names[s.Name] = struct{}{}
	}
	return len(names)
}

func (c *content) delta() *Delta {
	d := &Delta{}
	for _, name := range slices.Sorted(maps.Keys(c.dirty)) {
		c.sets[name].delta(d)
	}
	for _, name := range slices.Sorted(maps.Keys(c.stale)) {
		rules, wanted := c.chains[name]
		was, there := c.kernel[name]
		switch {
		case !wanted && there:
			d.OldChains = append(d.OldChains, name)
		case wanted && !there:
			d.NewChains = append(d.NewChains, name)
			d.Rules = append(d.Rules, Chain{name, rules})
		case wanted && !slices.Equal(rules, was):
			d.Rules = append(d.Rules, Chain{name, rules})
		}
	}
	return d
}

func (s *Set) delta(d *Delta) {
	switch {
	case s.gone && s.kernel == nil:
		return
	case s.gone:
		d.OldSets = append(d.OldSets, s)
		return
	case s.kernel == nil:
		d.NewSets = append(d.NewSets, s)
	}
	for _, key := range slices.Sorted(maps.Keys(s.touched)) {
		now, wanted := s.want[key]
		was, there := s.kernel[key]
		if there && (!wanted || was != now) {
			d.Less = append(d.Less, Element{s, key, was})
		}
		if wanted && (!there || was != now) {
			d.More = append(d.More, Element{s, key, now})
		}
	}
}

// commit takes the last delta as written.
func (c *content) commit() {
	for name := range c.dirty {
		s := c.sets[name]
		if s.gone {
			delete(c.sets, name)
			continue
		}
		if s.kernel == nil {
			s.kernel = map[string]string{}
		}
		for key := range s.touched {
			if verdict, wanted := s.want[key]; wanted {
				s.kernel[key] = verdict
			} else {
				delete(s.kernel, key)
			}
		}
		clear(s.touched)
	}
	clear(c.dirty)
	for name := range c.stale {
		if rules, wanted := c.chains[name]; wanted {
			c.kernel[name] = rules
		} else {
			delete(c.kernel, name)
		}
	}
	clear(c.stale)
}

// forget says that nothing is in the kernel.
func (c *content) forget() {
	c.kernel = map[string][]string{}
	for name := range c.chains {
		c.stale[name] = struct{}{}
	}
	for name, s := range c.sets {
		if s.gone {
			delete(c.sets, name)
			delete(c.dirty, name)
			continue
		}
		s.kernel = nil
		for key := range s.want {
			s.touched[key] = struct{}{}
		}
		c.dirty[name] = struct{}{}
	}
}

// Count is how much a table holds: rules by chain, elements by set.
type Count struct{ Rules, Elements map[string]int }

// count is what was committed.
func (c *content) count() Count {
	out := Count{map[string]int{}, map[string]int{}}
	for name, rules := range c.kernel {
		out.Rules[name] = len(rules)
	}
	for name, s := range c.sets {
		if s.kernel != nil {
			out.Elements[name] = len(s.kernel)
		}
	}
	return out
}

// Equal tells whether both hold as much.
func (c Count) Equal(o Count) bool {
	return maps.Equal(c.Rules, o.Rules) && maps.Equal(c.Elements, o.Elements)
}
