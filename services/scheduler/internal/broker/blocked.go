package broker

import (
	"cmp"
	"math"
	"slices"

	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/shape"
)

// gains remembers which nodes gained room lately, and by which change, so that a group that is parked
// with an answer from an older picture is not left asleep.
type gains struct {
	nodes []gained
	lost  plan.Revision // gains up to here may be missing from nodes
}

type gained struct {
	node int32
	at   plan.Revision
}

// remembered bounds the memory; who is older looks at every node.
const remembered = 4096

// gain wakes the parked groups for which the nodes have room now. Room is given
// out once: what a woken pod will take is not offered to the next.
func (b *Broker) gain(nodes []gained) {
	if len(nodes) == 0 {
		return
	}
	b.gains.nodes = append(b.gains.nodes, nodes...)
	if extra := len(b.gains.nodes) - remembered; extra > 0 {
		for _, e := range b.gains.nodes[:extra] {
			b.gains.lost.Pods, b.gains.lost.Nodes = max(b.gains.lost.Pods, e.at.Pods), max(b.gains.lost.Nodes, e.at.Nodes)
			b.gains.lost.Spaces = max(b.gains.lost.Spaces, e.at.Spaces)
		}
		b.gains.nodes = slices.Delete(b.gains.nodes, 0, extra)
	}
	b.offer(nodes)
}

// stir wakes the parked groups that rules about other pods may let in by now.
func (b *Broker) stir() {
	for _, g := range b.groups {
		if g.parked.live > 0 && b.stirred(g) {
			b.wake(g, g.parked.live)
		}
	}
}

func (b *Broker) stirred(g *group) bool {
	return b.anyParked(g, func(p *shape.Pod) bool { return b.mirror.Stirred(p, g.tried) })
}

// release offers nodes whose room a worker had counted wrongly. Whatever the
// parked groups have seen, it was not that.
func (b *Broker) release(names []string) {
	var nodes []gained
	for _, name := range names {
		if i, ok := b.mirror.Index(name); ok {
			nodes = append(nodes, gained{i, always})
		}
	}
	if len(nodes) == 0 {
		return
	}
	b.offer(nodes)
	for _, g := range b.groups { // they may have been refused because of a pod that is not there
		if g.parked.live > 0 && b.social(g) {
			b.wake(g, g.parked.live)
		}
	}
}

// social tells whether rules about other pods have to do with a group's parked pods.
func (b *Broker) social(g *group) bool {
	return b.anyParked(g, func(p *shape.Pod) bool { return b.mirror.View(p) != nil })
}

// anyParked asks about the group's parked pods, once for those that are alike.
func (b *Broker) anyParked(g *group, ask func(*shape.Pod) bool) bool {
	if !b.mirror.Social() {
		return false
	}
	var last *shape.Identity
	for _, w := range g.parked.pods {
		if w == nil || w.left || w.pod.Self == last {
			continue
		}
		last = w.pod.Self
		if ask(w.pod) {
			return true
		}
	}
	return false
}

// always is newer than what anybody has seen.
var always = plan.Revision{Pods: math.MaxUint64, Nodes: math.MaxUint64, Spaces: math.MaxUint64}

// offer gives the nodes' room to parked groups that have not seen it yet, the
// most important first.
func (b *Broker) offer(nodes []gained) {
	if len(nodes) == 0 {
		return
	}
	parked := b.parkedGroups()
	if len(parked) == 0 {
		return
	}
	expected := b.expected()
	seen := make(map[int32]bool, len(nodes))
	for _, e := range slices.Backward(nodes) { // the last gain of a node speaks for those before it
		if seen[e.node] || int(e.node) >= b.mirror.Slots() {
			continue
		}
		seen[e.node] = true
		room := b.mirror.Node(e.node).Copy()
		took := false
		for _, w := range expected[e.node] {
			if g := w.group; w.list == &g.parked && filter.Node(g.shape, &room) == filter.OK {
				room.Take(g.shape)
				b.wakeOne(w)
			}
		}
		for _, g := range parked {
			if g.tried.Covers(e.at) {
				continue
			}
			if n := fill(g, &room); n > 0 {
				b.wake(g, n)
				took = true
			}
		}
		if took && e.at != always {
			b.offers = append(b.offers, e)
		}
	}
}

// expected lists the parked pods for which room is being made, by node, the most important
// first. What becomes free there is theirs, whatever others of their group were told.
func (b *Broker) expected() map[int32][]*waiting {
	out := map[int32][]*waiting{}
	for _, uid := range b.mirror.Expected() {
		if w := b.pods[uid]; w != nil && w.list == &w.group.parked {
			at, _ := b.mirror.Nominated(uid)
			out[at] = append(out[at], w)
		}
	}
	for _, list := range out {
		slices.SortFunc(list, func(x, y *waiting) int { return cmp.Compare(y.group.shape.Priority, x.group.shape.Priority) })
	}
	return out
}

// reoffer runs when every woken pod is decided: what they left goes to others.
// A group is never woken twice for one gain, since it has seen it by then.
func (b *Broker) reoffer() {
	for b.settled && b.woken == 0 {
		b.settled = false
		offers := b.offers
		b.offers = nil
		b.offer(offers)
	}
}

// parkedGroups lists groups with parked pods by priority and age.
func (b *Broker) parkedGroups() []*group {
	var out []*group
	for _, g := range b.groups {
		if g.parked.live > 0 && g.shape.Placeable() {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(x, y *group) int {
		return cmp.Or(cmp.Compare(y.shape.Priority, x.shape.Priority), cmp.Compare(x.arrival, y.arrival))
	})
	return out
}

// fill puts as many of the group's parked pods into room as fit and counts them.
func fill(g *group, room *node.Node) int {
	n := 0
	if filter.Node(g.shape, room) != filter.OK {
		return 0
	}
	for n < g.parked.live && filter.Fit(g.shape, room) == filter.OK {
		room.Take(g.shape)
		n++
	}
	return n
}

// fitsSince counts how many of the group's parked pods fit into room that was
// gained after the worker looked.
func (b *Broker) fitsSince(g *group) int {
	if !g.shape.Placeable() {
		return 0
	}
	n := 0
	count := func(i int32) {
		if int(i) < b.mirror.Slots() && n < g.parked.live {
			room := b.mirror.Node(i).Copy()
			n += fill(g, &room)
		}
	}
	if !g.tried.Covers(b.gains.lost) {
		for i := range b.mirror.Slots() {
			count(int32(i))
		}
		return n
	}
	seen := map[int32]bool{}
	for _, e := range b.gains.nodes {
		if !g.tried.Covers(e.at) && !seen[e.node] {
			seen[e.node] = true
			count(e.node)
		}
	}
	return n
}
