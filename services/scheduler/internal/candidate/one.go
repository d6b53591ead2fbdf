package candidate

import (
	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/shape"
)

// One is the candidates of a pod that demands a node by its name, as a DaemonSet's pods do:
// that node or none. There is nothing to score.
type One struct {
	mirror *cluster.Mirror
	ask    cluster.Ask
}

// NewOne makes the candidate for pods like this one, whose shape names one node.
func NewOne(m *cluster.Mirror, p *shape.Pod) *One {
	return &One{mirror: m, ask: cluster.Ask{Shape: p.Shape, Self: p.Self}}
}

// Best gives the node for the next pod, or false when it cannot take it.
func (o *One) Best() (int32, bool) {
	i, ok := o.mirror.Index(o.ask.Shape.Pinned[0])
	if !ok {
		return 0, false
	}
	o.ask.View = o.mirror.ViewOf(o.ask.Self, o.ask.Shape)
	return i, o.mirror.Check(&o.ask, i) == filter.OK
}

// Others appends nothing: there are none.
func (o *One) Others(dst []int32, _ int) []int32 { return dst }
