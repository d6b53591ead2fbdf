// Package planner has the last word on placements. It verifies each proposed pod
// against a ledger that holds everything it has let through, commits bindings in
// fenced bulk requests through the gateway, and tells the workers what became of
// their plans. One planner is active at a time; the fence makes a late one harmless.
//
// Start with Planner.Apply. Promise: the pods bound by a planner, together with
// those that the log shows, never ask for more than their node has, whatever the
// workers propose and however many there are.
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
	Bound  func(pod *shape.Pod, node string)
	Logger *zap.Logger
}

// Planner is safe for concurrent use.
type Planner struct {
	options Options
	binder  Binder

	ledger *cluster.Shared // its lock guards what follows too
	queue  []*item

	work chan struct{} // one token a sender: something is queued
	busy atomic.Int64  // queued and sent, not yet answered
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

// The outcomes. Unknown is tried again by the planner until it is known.
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
}

// item is a binding on its way.
type item struct {
	Binding
	call  *call
	moved bool
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
	return &Planner{options: o, binder: binder, ledger: cluster.NewShared(), work: make(chan struct{}, o.InFlight)}
}

// Feed takes in what the log says.
func (p *Planner) Feed() feed.Sink { return p.ledger }

// Busy tells whether bindings wait or are on their way.
func (p *Planner) Busy() bool { return p.busy.Load() > 0 }

// Run sends bindings until ctx ends.
func (p *Planner) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for range p.options.InFlight {
		group.Go(func() error { return p.send(ctx) })
	}
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
	for _, placement := range proposal.Placements {
		p.verify(c, placement)
	}
	c.result.After = p.ledger.Seen()
	empty := c.left == 0
	p.ledger.Unlock()
	if empty {
		return c.result, nil
	}
	p.wake()
	select {
	case <-c.done:
		return c.result, nil
	case <-ctx.Done():
		return plan.Result{}, ctx.Err()
	}
}

func (p *Planner) wake() {
	select {
	case p.work <- struct{}{}:
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
	if _, placed := p.ledger.Placed(placement.UID); placed {
		c.result.Dropped = append(c.result.Dropped, placement.UID)
		return
	}
	node, ok := p.choose(pod.Shape, placement)
	if !ok {
		c.result.Rejected = append(c.result.Rejected, placement.UID)
		return
	}
	p.ledger.Assume(placement.UID, node)
	binding := Binding{Pod: pod, Node: p.ledger.Node(node).Name}
	if pod.Shape.Unbound() {
		binding.Claims, _ = pod.Shape.Claims.Choose(p.ledger.Node(node).Self)
	}
	c.left++
	p.busy.Add(1)
	p.queue = append(p.queue, &item{Binding: binding, call: c, moved: binding.Node != placement.Node})
}

// choose tries the proposed node and then the others.
func (p *Planner) choose(s *shape.Shape, placement plan.Placement) (int32, bool) {
	if i, ok := p.fits(s, placement.Node); ok {
		return i, true
	}
	for _, name := range placement.Others {
		if i, ok := p.fits(s, name); ok {
			return i, true
		}
	}
	return 0, false
}

func (p *Planner) fits(s *shape.Shape, name string) (int32, bool) {
	i, ok := p.ledger.Index(name)
	return i, ok && filter.Node(s, p.ledger.Node(i)) == filter.OK
}
