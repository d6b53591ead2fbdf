// Package preempt decides whom to take away so that a more important pod fits: upstream's
// DefaultPreemption. On each node where it can help, all less important pods are thought
// away; if the pod fits then, as many as possible are let stay, first those whose
// disruption budget would be violated, the most important first. Of the nodes that one is
// taken whose victims are the smallest loss.
//
// Start with For. It is a question: the mirror is as before afterwards.
package preempt

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/shape"
)

// Choice is a node, and the pods that are to go from it, the most important first.
type Choice struct {
	Node       int32
	Victims    []*shape.Pod
	Violations int // of disruption budgets
}

// Node is one where the pod does not fit, and why.
type Node struct {
	Index   int32
	Refusal filter.Refusal
}

// Answer is a Choice, or nil. Text is upstream's, for the pod's condition. Hopeless says that
// no node was found, rather than that the pod may not ask now.
type Answer struct {
	*Choice
	Hopeless bool
	Text     string
}

// For looks for room for a pod that fits on none of the cluster's nodes. Start says which
// node is tried first.
func For(m *cluster.Mirror, pod *shape.Pod, nodes []Node, now time.Time, start int) Answer {
	if !pod.Shape.Profile.Preempts {
		return Answer{}
	}
	if pod.Shape.PreemptNever {
		return Answer{Text: "not eligible due to preemptionPolicy=Never."}
	}
	if waits(m, pod, nodes) {
		return Answer{Text: "not eligible due to a terminating pod on the nominated node."}
	}
	tally := filter.NewTally(len(nodes))
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return n.Refusal.Helpless })
	enough := min(max(len(nodes)*pod.Shape.Profile.LeastPercent/100, pod.Shape.Profile.LeastAbsolute), len(nodes))
	ask := m.Ask(pod)
	var found []Choice
	kind := 0 // how many violate nothing
	for i := range nodes {
		at := nodes[(start+i)%len(nodes)].Index
		choice, texts := on(m, &ask, at, now)
		if choice == nil || len(choice.Victims) == 0 {
			tally.Add(texts...)
			continue
		}
		found = append(found, *choice)
		if choice.Violations == 0 {
			kind++
		}
		if kind > 0 && len(found) >= enough {
			break
		}
	}
	if len(found) == 0 {
		return Answer{Hopeless: true, Text: tally.String()}
	}
	best := slices.MinFunc(found, func(a, b Choice) int { return compare(&a, &b, now) })
	return Answer{Choice: &best, Text: fmt.Sprintf("found a potential placement for pod on node %s, preempting %d victims", m.Node(best.Node).Name, len(best.Victims))}
}

// waits tells whether pods already make room for this one on the node it is nominated to.
func waits(m *cluster.Mirror, pod *shape.Pod, nodes []Node) bool {
	at, ok := m.Nominated(pod.UID)
	if !ok {
		return false
	}
	for _, n := range nodes {
		if n.Index == at && n.Refusal.Helpless {
			return false
		}
	}
	return m.Clearing(at, pod.Shape.Priority)
}

// on finds the fewest pods to take off one node, or says why that would not help.
func on(m *cluster.Mirror, ask *cluster.Ask, at int32, now time.Time) (*Choice, []string) {
	lower := m.Lower(at, ask.Shape.Priority)
	if len(lower) == 0 {
		return nil, []string{"No preemption victims found for incoming pod"}
	}
	for _, p := range lower {
		m.Lift(p, at)
	}
	if r := m.Explain(ask, at); r.Reason != filter.OK {
		for _, p := range lower {
			m.Lay(p, at)
		}
		return nil, r.Texts
	}
	slices.SortFunc(lower, func(a, b *shape.Pod) int { return importance(a, b, now) })
	violating, others := byBudget(m, lower)
	choice := &Choice{Node: at}
	reprieve := func(p *shape.Pod) bool {
		m.Lay(p, at)
		if m.Check(ask, at) == filter.OK {
			return true
		}
		m.Lift(p, at)
		choice.Victims = append(choice.Victims, p)
		return false
	}
	for _, p := range violating {
		if !reprieve(p) {
			choice.Violations++
		}
	}
	for _, p := range others {
		reprieve(p)
	}
	for _, p := range choice.Victims {
		m.Lay(p, at)
	}
	slices.SortFunc(choice.Victims, func(a, b *shape.Pod) int { return importance(a, b, now) })
	return choice, nil
}

// importance puts the more important pod first: of higher priority, running for longer.
func importance(a, b *shape.Pod, now time.Time) int {
	return cmp.Or(cmp.Compare(b.Shape.Priority, a.Shape.Priority), started(a, now).Compare(started(b, now)), cmp.Compare(a.UID, b.UID))
}

// started is now for a pod that has not.
func started(p *shape.Pod, now time.Time) time.Time {
	if p.Started.IsZero() {
		return now
	}
	return p.Started
}

// byBudget parts the pods whose going would violate a disruption budget from the others;
// each budget is used up in the pods' order.
func byBudget(m *cluster.Mirror, pods []*shape.Pod) (violating, others []*shape.Pod) {
	left := map[*feed.Budget]int32{}
	for _, p := range pods {
		violates := false
		m.Budgets(p.Namespace, func(b *feed.Budget) {
			if violates || len(p.Self.Labels) == 0 || !b.Chooses.Matches(p.Self.Labels) || b.Disrupted[p.Name] {
				return
			}
			if _, known := left[b]; !known {
				left[b] = m.Left(b)
			}
			left[b]--
			violates = left[b] < 0
		})
		if violates {
			violating = append(violating, p)
		} else {
			others = append(others, p)
		}
	}
	return violating, others
}

// compare puts the smaller loss first: fewer violations, a lower highest priority, a lower
// sum of priorities, fewer pods, the most important of which began later.
func compare(a, b *Choice, now time.Time) int {
	return cmp.Or(
		cmp.Compare(a.Violations, b.Violations),
		cmp.Compare(a.Victims[0].Shape.Priority, b.Victims[0].Shape.Priority),
		cmp.Compare(a.sum(), b.sum()),
		cmp.Compare(len(a.Victims), len(b.Victims)),
		b.began(now).Compare(a.began(now)),
	)
}

// sum is of priorities that are made positive first, so that few of a negative one are less
// than many.
func (c *Choice) sum() (sum int64) {
	for _, p := range c.Victims {
		sum += int64(p.Shape.Priority) + math.MaxInt32 + 1
	}
	return sum
}

// began is when the first of the victims with the highest priority did.
func (c *Choice) began(now time.Time) time.Time { return started(c.Victims[0], now) }

// Holds tells whether a choice that somebody made still gives the pod room, and all of its
// victims are there and less important.
func Holds(m *cluster.Mirror, pod *shape.Pod, at int32, victims []*shape.Pod) bool {
	for _, p := range victims {
		if i, placed := m.Placed(p.UID); !placed || i != at || p.Shape.Priority >= pod.Shape.Priority {
			return false
		}
	}
	for _, p := range victims {
		m.Lift(p, at)
	}
	ask := m.Ask(pod)
	ok := m.Check(&ask, at) == filter.OK
	for _, p := range victims {
		m.Lay(p, at)
	}
	return ok
}
