// Package topology counts pods by topology domain, for the rules that pods have about each
// other: affinity, anti-affinity and spreading. Nothing is counted that no pod asks for;
// what is asked for is counted once, whoever asks, and kept up to date pod by pod.
//
// Start with Index, which a mirror of the cluster feeds, and View, which judges nodes for
// one pod. An Index promises: its counts are those of the pods that entered and did not
// leave, over the nodes as last set. It is not safe for concurrent use.
package topology

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/shape"
)

// Index is the counts. Nodes are named by their index in the mirror.
type Index struct {
	// Now is the revision of the change that is being taken in; the mirror sets it.
	Now plan.Revision

	nodes      []*node.Node // nil: absent. Only labels, taints and class are looked at.
	keys       map[string]*key
	selections map[string]*selection
	local      map[string][]*selection // by the only namespaces that they are about
	wide       []*selection            // those about namespaces by label
	citizens   map[*shape.Identity]*citizen
	towns      map[string]map[*shape.Identity]*citizen // by namespace
	spaces     map[string]labels.Set                   // labels of namespaces
	speakers   map[*shape.Shape]*speaker
	empty      map[string][]*spread // with an empty selector, by namespace
	social     bool
	moved      plan.Revision // when labels or taints of a node changed last
}

// New gives an empty index.
func New() *Index {
	return &Index{
		keys: map[string]*key{}, selections: map[string]*selection{}, local: map[string][]*selection{},
		citizens: map[*shape.Identity]*citizen{}, towns: map[string]map[*shape.Identity]*citizen{},
		spaces: map[string]labels.Set{}, speakers: map[*shape.Shape]*speaker{}, empty: map[string][]*spread{},
	}
}

// citizen is the pods of one identity.
type citizen struct {
	id      *shape.Identity
	pods    int // that the mirror knows of, placed or not
	nodes   map[int32]count
	matched []*selection  // that choose them
	freed   plan.Revision // when something that was held against them went, with its selection
}

// count is how many pods; live ones are not being deleted.
type count struct{ all, live int32 }

// Join makes a pod known, wherever it is; Quit is the inverse.
func (x *Index) Join(id *shape.Identity, s *shape.Shape) {
	x.citizen(id).pods++
	if s.Terms != nil {
		x.speaker(s).pods++
	}
}

// Quit forgets a pod that has left its node.
func (x *Index) Quit(id *shape.Identity, s *shape.Shape) {
	if c := x.citizens[id]; c != nil {
		if c.pods--; c.pods == 0 {
			x.emigrate(c)
		}
	}
	if p := x.speakers[s]; p != nil {
		if p.pods--; p.pods == 0 {
			x.silence(p)
		}
	}
}

func (x *Index) citizen(id *shape.Identity) *citizen {
	c := x.citizens[id]
	if c != nil {
		return c
	}
	c = &citizen{id: id, nodes: map[int32]count{}}
	x.citizens[id] = c
	if x.towns[id.Namespace] == nil {
		x.towns[id.Namespace] = map[*shape.Identity]*citizen{}
	}
	x.towns[id.Namespace][id] = c
	for _, s := range x.local[id.Namespace] {
		if s.matches(id, x.spaces[id.Namespace]) {
			c.matched = append(c.matched, s)
		}
	}
	for _, s := range x.wide {
		if s.matches(id, x.spaces[id.Namespace]) {
			c.matched = append(c.matched, s)
		}
	}
	return c
}

func (x *Index) emigrate(c *citizen) {
	delete(x.citizens, c.id)
	town := x.towns[c.id.Namespace]
	if delete(town, c.id); len(town) == 0 {
		delete(x.towns, c.id.Namespace)
	}
}

// Enter puts a pod that has joined onto a node; leaving tells that it is being deleted.
func (x *Index) Enter(id *shape.Identity, s *shape.Shape, leaving bool, at int32) {
	x.move(id, s, leaving, at, 1)
}

// Leave is the inverse of Enter.
func (x *Index) Leave(id *shape.Identity, s *shape.Shape, leaving bool, at int32) {
	x.move(id, s, leaving, at, -1)
}

// Suppose is Enter, or with sign -1 Leave, for a question: it is taken back by the other before
// anything else happens.
func (x *Index) Suppose(id *shape.Identity, s *shape.Shape, leaving bool, at, sign int32) {
	x.move(id, s, leaving, at, sign)
	for _, e := range x.empty[id.Namespace] {
		e.add(at, sign)
	}
}

func (x *Index) move(id *shape.Identity, s *shape.Shape, leaving bool, at, sign int32) {
	by := count{all: sign, live: sign}
	if leaving {
		by.live = 0
	}
	c := x.citizen(id)
	n := c.nodes[at]
	if n.all += by.all; n.all == 0 {
		delete(c.nodes, at)
	} else {
		n.live += by.live
		c.nodes[at] = n
	}
	for _, chosen := range c.matched {
		chosen.add(x, at, by)
	}
	if s.Terms != nil {
		x.speaker(s).hold(x, at, sign)
	}
}

// Social tells that some pod says something of others, or has said so once.
func (x *Index) Social() bool { return x.social }

// SetNode takes over a node's labels and taints; nil: it is not there. The caller spares it
// the changes that leave them as they are.
func (x *Index) SetNode(at int32, n *node.Node) {
	for int(at) >= len(x.nodes) {
		x.nodes = append(x.nodes, nil)
	}
	x.moved = newest(x.moved, x.Now)
	if n != nil {
		n = &node.Node{Name: n.Name, Present: true, Class: n.Class, Self: n.Self} // what is taken there is not our affair
	}
	for _, p := range x.speakers {
		p.count(x, at, -1)
	}
	for _, k := range x.keys {
		x.relabel(k, at, n)
	}
	x.nodes[at] = n
	for _, p := range x.speakers {
		p.count(x, at, 1)
	}
}

// SetSpace takes over a namespace's labels; Gone is nil labels.
func (x *Index) SetSpace(name string, set labels.Set) {
	if set == nil {
		delete(x.spaces, name)
	} else {
		x.spaces[name] = set
	}
	for _, s := range slices.Concat(x.wide, x.local[name]) { // of several selectors one may look at labels
		for _, c := range x.towns[name] {
			was, is := c.chosenBy(s), s.matches(c.id, set)
			if was != is {
				x.choose(s, c, is)
			}
		}
	}
}
