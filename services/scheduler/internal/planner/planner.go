// Package planner has the last word on placements. It verifies each proposed pod
// against a ledger that holds everything it has let through, commits bindings in
// fenced bulk requests through the gateway, and tells the workers what became of
// their plans. One planner is active at a time; the fence makes a late one harmless.
//
// Start with Planner.Apply. Promises: the pods bound by a planner, together with
// those that the log shows, never ask for more than their node has, and keep each other's
// required (anti-)affinity and hard spreading as of each commit, whatever the workers
// propose and however many there are. Pods are taken away for a more important one only
// where that gives it room.
package planner

import (
	"context"
	"sync/atomic"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/shape"
)

// Options of a planner.
type Options struct {
	// InFlight is how many bulk requests are on their way at once; default 3.
	InFlight int
	// Bound, if set, is told of each binding that was committed. It must not block.
	Bound func(pod *shape.Pod, node string)
	// Preempted, if set, is told of each pod that was taken away. It must not block.
	Preempted func(victim, by *shape.Pod, node string)
	Logger    *zap.Logger
}

// Planner is safe for concurrent use.
type Planner struct {
	options Options
	binder  Binder

	ledger *cluster.Shared // its lock guards what follows too
	free   lane            // bindings in any order
	tied   lane            // bindings that hold only in the order of their verification
	gangs  [][]*item       // bindings that are stored all or none
	seq    uint64          // of the last binding
	open   map[uint64]bool // bindings of the free lane that are not settled
	taken  []*taking
	doubt  map[string]bool // pods whose binding was given up without knowing what became of it

	taking  chan struct{} // one token: somebody is to be taken away
	ganged  chan struct{} // one token: a gang is to be bound
	settled chan struct{} // one token: bindings of the free lane were settled
	busy    atomic.Int64  // queued and sent, not yet answered
}

// Binding is one decision to commit. With Claims, these are written instead of the pod:
// when they are bound, the log gives the pod again, and it is decided anew, now that its
// volumes say where it can run. Until then it holds its room (cluster.Mirror).
type Binding struct {
	Pod    *shape.Pod
	Node   string
	Claims []shape.Binding
}

// Verdict is what became of a Binding. Error says why it was refused.
type Verdict struct {
	Outcome Outcome
	Error   string
}

// Outcome is a kind of verdict.
type Outcome uint8

// The outcomes. Unknown is tried again a few times; then the pod goes back to the queue, and
// the room stays taken until it is known.
const (
	Unknown Outcome = iota
	Bound
	Prepared // the claims are written; the pod is not bound yet
	Gone     // the pod is gone, is being deleted, or was bound by somebody else
	Refused  // the API does not want it this way; plan again later
)

// Binder commits bindings, at most plan.MostPods at once; verdicts come in the
// bindings' order. An error says that nothing is known of any.
type Binder interface {
	Bind(ctx context.Context, bindings []Binding) ([]Verdict, error)
	// BindAll commits all bindings or none: the verdict is that of all.
	BindAll(ctx context.Context, bindings []Binding) (Verdict, error)
	// Preempt takes pods away for others; an error says that nothing is known.
	Preempt(ctx context.Context, preemptions []Preemption) ([]Verdict, error)
}

// item is a binding on its way.
type item struct {
	Binding
	call  *call
	moved bool
	seq   uint64 // of its verification
}

// call is a plan that waits for its items.
type call struct {
	left   int
	result plan.Result
	done   chan struct{}
}

// New makes a planner; feed it by Apply of batches and start it by Run.
func New(binder Binder, o Options) *Planner {
	if o.InFlight <= 0 {
		o.InFlight = 3
	}
	return &Planner{options: o, binder: binder, ledger: cluster.NewShared(), free: newLane(o.InFlight), tied: newLane(1), open: map[uint64]bool{}, settled: make(chan struct{}, 1), taking: make(chan struct{}, 1), ganged: make(chan struct{}, 1), doubt: map[string]bool{}}
}

// Feed takes in what the log says.
func (p *Planner) Feed() feed.Sink { return p.ledger }

// Busy tells whether bindings wait or are on their way.
func (p *Planner) Busy() bool { return p.busy.Load() > 0 }

// Run sends bindings until ctx ends.
func (p *Planner) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for range p.options.InFlight {
		group.Go(func() error { return p.send(ctx, &p.free) })
	}
	group.Go(func() error { return p.send(ctx, &p.tied) })
	group.Go(func() error { return p.preempt(ctx) })
	group.Go(func() error { return p.bindGangs(ctx) })
	return group.Wait()
}

// Apply verifies a plan in its order, queues what holds, and returns when all of
// it is committed or refused.
func (p *Planner) Apply(ctx context.Context, proposal plan.Plan) (plan.Result, error) {
	if err := p.ledger.Reach(ctx, proposal.After); err != nil {
		return plan.Result{}, err
	}
	c := &call{done: make(chan struct{})}
	p.ledger.Lock()
	for rest := proposal.Placements; len(rest) > 0; {
		if rest[0].Gang == "" {
			p.verify(c, rest[0])
			rest = rest[1:]
			continue
		}
		n := 1
		for n < len(rest) && rest[n].Gang == rest[0].Gang {
			n++
		}
		p.verifyGang(c, rest[:n])
		rest = rest[n:]
	}
	for _, preemption := range proposal.Preemptions {
		p.consider(c, preemption)
	}
	c.result.After = p.ledger.Seen()
	empty := c.left == 0
	p.ledger.Unlock()
	if empty {
		return c.result, nil
	}
	p.free.wake()
	p.tied.wake()
	select {
	case <-c.done:
		return c.result, nil
	case <-ctx.Done():
		return plan.Result{}, ctx.Err()
	}
}

// lane is bindings that wait to be sent, by as many senders at once as it has tokens.
type lane struct {
	queue []*item
	work  chan struct{} // one token a sender: something is queued
}

func newLane(senders int) lane { return lane{work: make(chan struct{}, senders)} }

func (l *lane) wake() {
	select {
	case l.work <- struct{}{}:
	default:
	}
}

// verify lets one placement into the ledger and the queue, or says why not.
func (p *Planner) verify(c *call, placement plan.Placement) {
	pod := p.ledger.Pod(placement.UID)
	if pod == nil || !pod.Pending() || pod.Shape.Gated || !pod.Shape.Placeable() {
		c.result.Dropped = append(c.result.Dropped, placement.UID)
		return
	}
	if at, placed := p.ledger.Placed(placement.UID); placed {
		if !p.doubt[placement.UID] {
			c.result.Dropped = append(c.result.Dropped, placement.UID)
			return
		}
		delete(p.doubt, placement.UID)
		p.enqueue(c, pod, at, placement) // the same again: it succeeds, or the pod tells that it is bound
		return
	}
	ask := p.ledger.Ask(pod)
	node, ok := p.choose(&ask, placement)
	if !ok {
		c.result.Rejected = append(c.result.Rejected, placement.UID)
		return
	}
	p.ledger.Assume(placement.UID, node)
	p.enqueue(c, pod, node, placement)
}

// enqueue hands a binding that the ledger has taken in to the senders.
func (p *Planner) enqueue(c *call, pod *shape.Pod, node int32, placement plan.Placement) {
	binding := Binding{Pod: pod, Node: p.ledger.Node(node).Name}
	if pod.Shape.Unbound() {
		binding.Claims, _ = pod.Shape.Claims.Choose(p.ledger.Node(node).Self)
	}
	c.left++
	p.busy.Add(1)
	p.seq++
	it := &item{Binding: binding, call: c, moved: binding.Node != placement.Node, seq: p.seq}
	if p.ledger.Ordered(pod) {
		p.tied.queue = append(p.tied.queue, it)
	} else {
		p.free.queue = append(p.free.queue, it)
		p.open[it.seq] = true
	}
}

// choose tries the proposed node and then the others.
func (p *Planner) choose(a *cluster.Ask, placement plan.Placement) (int32, bool) {
	if i, ok := p.fits(a, placement.Node); ok {
		return i, true
	}
	for _, name := range placement.Others {
		if i, ok := p.fits(a, name); ok {
			return i, true
		}
	}
	return 0, false
}

func (p *Planner) fits(a *cluster.Ask, name string) (int32, bool) {
	i, ok := p.ledger.Index(name)
	return i, ok && p.ledger.Check(a, i) == filter.OK
}
