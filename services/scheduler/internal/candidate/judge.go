package candidate

import (
	"math/rand/v2"

	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/score"
)

// judge says of a node alone whether it can take the pod, and how good it is.
type judge struct {
	mirror *cluster.Mirror
	ask    cluster.Ask
	owner  string // whose pods are spread; "" spreads nothing
	random *rand.Rand

	class map[*node.Class]verdict
	most  score.Static
}

// verdict is what the static rules say of a class.
type verdict struct {
	ok  bool
	raw score.Static
}

func newJudge(m *cluster.Mirror, a cluster.Ask, owner string, seed uint64) judge {
	if !a.Shape.Profile.System {
		owner = "" // the profile's constraints are the pod's own
	}
	return judge{mirror: m, ask: a, owner: owner, random: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15))}
}

// survey looks at all nodes for what scores are measured by.
func (j *judge) survey() {
	j.class, j.most = map[*node.Class]verdict{}, score.Static{}
	j.each(func(i int32) {
		if nd := j.mirror.Node(i); nd.Present {
			j.most = j.most.Most(j.static(nd).raw)
		}
	})
}

// each calls fn with every node that can be a candidate: all, or those that are pinned.
func (j *judge) each(fn func(int32)) {
	if j.ask.Shape.Pinned == nil {
		for i := range j.mirror.Slots() {
			fn(int32(i))
		}
		return
	}
	for _, name := range j.ask.Shape.Pinned {
		if i, ok := j.mirror.Index(name); ok {
			fn(i)
		}
	}
}

// static judges by class, or by node when the shape looks at more than that.
func (j *judge) static(n *node.Node) verdict {
	s := j.ask.Shape
	v, known := j.class[n.Class]
	if known && !s.PerNode {
		return v
	}
	v = verdict{ok: filter.Static(s, n) == filter.OK && filter.Declared(s, n) == filter.OK}
	if v.ok {
		v.raw = score.OfClass(s, n)
	}
	if !s.PerNode {
		j.class[n.Class] = v
	}
	return v
}

// points scores a node by itself, or says that it is no candidate; raw is what is to be
// measured by others. The lowest bits are random, below what one point is worth.
func (j *judge) points(i int32, n *node.Node) (points int64, raw score.Static, ok bool) {
	if !n.Present {
		return 0, raw, false
	}
	v := j.static(n)
	if !v.ok || !j.mirror.Fits(&j.ask, i) {
		return 0, raw, false
	}
	points = score.Usage(j.ask.Shape, n) + score.Images(j.ask.Shape, n, j.mirror.ImageSpread) + score.Volumes(j.ask.Shape, n)
	return points<<jitterBits | int64(j.random.Uint32()&(1<<jitterBits-1)), v.raw, true
}
