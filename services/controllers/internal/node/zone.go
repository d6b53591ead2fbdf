package node

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/node/topology"
)

// zoneState is how a zone fares; names and bounds are upstream's.
type zoneState int

const (
	stateInitial           zoneState = iota // no node of it counts
	stateNormal                             // evictions at the usual rate
	statePartialDisruption                  // many nodes are not ready: slower, in a small zone none
	stateFullDisruption                     // no node is ready: as usual, but none when all zones are so
)

// String is upstream's name.
func (s zoneState) String() string {
	return [...]string{"Initial", "Normal", "PartialDisruption", "FullDisruption"}[s]
}

// limits bound how fast nodes get the NoExecute taint that empties them.
type limits struct {
	Rate      float64 // nodes a second in a zone
	Secondary float64 // the same in a large zone that is partially disrupted
	Unhealthy float64 // part of a zone's nodes that makes it partially disrupted
	Large     int     // more nodes than these make a large zone
}

// state judges a zone by its nodes.
func (l limits) state(ready, notReady int) zoneState {
	switch {
	case ready+notReady == 0:
		return stateInitial
	case ready == 0:
		return stateFullDisruption
	case notReady > 2 && float32(notReady)/float32(ready+notReady) >= float32(l.Unhealthy):
		return statePartialDisruption
	}
	return stateNormal
}

// rate is how many nodes a second a zone of that state may lose; zero: none.
func (l limits) rate(state zoneState, size int) float64 {
	switch {
	case state != statePartialDisruption:
		return l.Rate
	case size > l.Large:
		return l.Secondary
	}
	return 0
}

// excludeDisruption is the label of nodes that say nothing of how their zone fares.
const excludeDisruption = "node.kubernetes.io/exclude-disruption"

// member is a node as its zone sees it.
type member struct {
	Zone   string
	Ready  bool
	Counts bool // towards the state of the zone
}

func memberOf(node *corev1.Node) member {
	ready := conditionOf(node.Status.Conditions, corev1.NodeReady)
	_, excluded := node.Labels[excludeDisruption]
	return member{Zone: topology.GetZoneKey(node), Ready: ready != nil && ready.Status == corev1.ConditionTrue, Counts: !excluded}
}

// turn is what a node's change means for others.
type turn struct {
	Zone   string
	State  zoneState // of the zone
	New    bool      // State is a new one
	Halt   bool      // from now on no node is ready anywhere: nobody is evicted, and taints go
	Resume bool      // it is over: every node has a full grace
	Wake   []string  // nodes that may ask again, sooner than they were told
}

// zones decides when a node may get its NoExecute taint: one after the other in each
// zone, at a rate that follows from how many of the zone's nodes are ready. It is a
// state machine without a clock; calls must not overlap.
//
//	Normal ⇄ PartialDisruption     (unhealthy part of the zone, and more than two nodes)
//	   ⇅           ⇅
//	  FullDisruption               (no node is ready; all zones so: halted)
type zones struct {
	limits limits
	nodes  map[string]member
	zones  map[string]*zone
	halted bool
}

type zone struct {
	ready, notReady int
	state           zoneState
	rate            float64
	next            time.Time // no node is let through before
	waiting         []string  // in the order in which they asked
	admitted        map[string]bool
}

func newZones(l limits) *zones {
	return &zones{limits: l, nodes: map[string]member{}, zones: map[string]*zone{}}
}

// Note takes a node's present state in.
func (z *zones) Note(name string, m member, now time.Time) turn {
	old, known := z.nodes[name]
	z.nodes[name] = m
	if known && old == m {
		return turn{Zone: m.Zone, State: z.zones[m.Zone].state}
	}
	var woken []string
	if known {
		z.count(old, -1)
		if old.Zone != m.Zone {
			woken = z.Leave(name, old.Zone)
			z.judge(old.Zone, now)
		}
	}
	if z.zones[m.Zone] == nil {
		z.zones[m.Zone] = &zone{rate: z.limits.Rate, admitted: map[string]bool{}}
	}
	z.count(m, +1)
	return z.settle(m.Zone, woken, now)
}

// Gone forgets a node.
func (z *zones) Gone(name string, now time.Time) turn {
	m, known := z.nodes[name]
	if !known {
		return turn{}
	}
	delete(z.nodes, name)
	z.count(m, -1)
	return z.settle(m.Zone, z.Leave(name, m.Zone), now)
}

func (z *zones) count(m member, by int) {
	switch at := z.zones[m.Zone]; {
	case !m.Counts:
	case m.Ready:
		at.ready += by
	default:
		at.notReady += by
	}
}

// settle judges a zone, and then the whole.
func (z *zones) settle(name string, woken []string, now time.Time) turn {
	t := turn{Zone: name, Wake: woken}
	was := z.zones[name].state
	t.Wake = append(t.Wake, z.judge(name, now)...)
	t.State = z.zones[name].state
	t.New = t.State != was
	halted := z.disrupted()
	t.Halt, t.Resume = halted && !z.halted, !halted && z.halted
	z.halted = halted
	if t.Halt || t.Resume {
		for _, at := range z.zones {
			clear(at.admitted)
			at.next = now.Add(interval(at.rate)) // nobody is let through at the very start
		}
	}
	return t
}

// judge sets a zone's state and rate, and names who may be let through by a new rate.
func (z *zones) judge(name string, now time.Time) (woken []string) {
	at := z.zones[name]
	at.state = z.limits.state(at.ready, at.notReady)
	rate := z.limits.rate(at.state, at.ready+at.notReady)
	if rate == at.rate {
		return nil
	}
	if at.rate == 0 || now.Before(at.next) { // no turn may come sooner by a change of the rate
		at.next = now.Add(interval(rate))
	}
	at.rate = rate
	return slices.Clone(at.waiting)
}

// disrupted: there are zones, and none has a ready node.
func (z *zones) disrupted() bool {
	any := false
	for _, at := range z.zones {
		if at.state == stateInitial {
			continue
		}
		if at.state != stateFullDisruption {
			return false
		}
		any = true
	}
	return any
}

// Admit tells whether a node may get its taint now. If not, it is in the line, and may
// ask again after wait; zero: when it is woken. Who was let through stays so until it leaves.
func (z *zones) Admit(name string, now time.Time) (ok bool, wait time.Duration) {
	at := z.zones[z.nodes[name].Zone]
	if at == nil || z.halted {
		return false, 0
	}
	if at.admitted[name] {
		return true, 0
	}
	place := slices.Index(at.waiting, name)
	if place < 0 {
		place = len(at.waiting)
		at.waiting = append(at.waiting, name)
	}
	if at.rate == 0 {
		return false, 0
	}
	if place == 0 && !now.Before(at.next) {
		at.waiting = at.waiting[1:]
		at.admitted[name] = true
		at.next = now.Add(interval(at.rate))
		return true, 0
	}
	return false, max(0, at.next.Sub(now)) + time.Duration(place)*interval(at.rate)
}

// Leave is for a node that needs no taint, or has it. Who stood behind it in the line
// of the zone is named.
func (z *zones) Leave(name, zone string) (woken []string) {
	at := z.zones[zone]
	if at == nil {
		return nil
	}
	delete(at.admitted, name)
	i := slices.Index(at.waiting, name)
	if i < 0 {
		return nil
	}
	at.waiting = slices.Delete(slices.Clone(at.waiting), i, i+1)
	return slices.Clone(at.waiting[i:])
}

// interval is the time between two nodes at a rate; zero where there is none.
func interval(rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / rate)
}
