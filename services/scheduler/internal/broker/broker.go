// Package broker decides what is to be scheduled next. It groups the pending pods
// by owner and shape, hands groups to workers as evaluations, highest priority
// first and never two of one group at once, parks what fits nowhere, and wakes it
// when something changes that could let it in.
//
// Start with Broker.Apply, Take and Done. Everything is in memory and follows
// from the state log: a new broker has the same work after reading it.
// A Broker never polls; timers exist only for work in hand or put off.
package broker

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/shape"
)

// Options of a broker.
type Options struct {
	// SchedulerNames are the spec.schedulerName values that we answer to.
	SchedulerNames []string
	// Backoff of pods that could not be decided, doubling up to MostBackoff; default 1 s to 10 s.
	Backoff, MostBackoff time.Duration
	// Lease is how long a worker may keep an evaluation; default one minute.
	Lease time.Duration
	// Unschedulable, if set, is told of each pod that fits nowhere and why. It must
	// not block.
	Unschedulable func(pod *shape.Pod, message string)
	Logger        *zap.Logger
}

// Broker is safe for concurrent use.
type Broker struct {
	options Options
	ours    map[string]bool

	mu      sync.Mutex // guards what follows
	mirror  *cluster.Mirror
	synced  bool
	groups  map[key]*group
	pods    map[string]*waiting // by UID
	ready   queue
	out     map[uint64]*lease
	takers  []*taker
	gains   gains
	woken   int      // woken pods that are not decided yet
	settled bool     // the last of them was decided: offers are to be looked at
	offers  []gained // room offered to woken pods
	lastID  uint64
	arrival uint64
}

// key is what makes pods one group.
type key struct {
	shape *shape.Shape
	owner string
}

// lease is an evaluation in a worker's hands.
type lease struct {
	groups []*group
	timer  *time.Timer
}

// taker is a worker that waits. give is called once, with the lock held.
type taker struct {
	give func(*plan.Eval)
	gone bool
}

// New makes a broker that knows of nothing yet.
func New(o Options) *Broker {
	if o.Backoff <= 0 || o.MostBackoff < o.Backoff {
		o.Backoff, o.MostBackoff = time.Second, 10*time.Second
	}
	if o.Lease <= 0 {
		o.Lease = time.Minute
	}
	b := &Broker{options: o, ours: map[string]bool{}, mirror: cluster.New(), groups: map[key]*group{}, pods: map[string]*waiting{}, out: map[uint64]*lease{}}
	for _, name := range o.SchedulerNames {
		b.ours[name] = true
	}
	return b
}

// Apply takes in what the log says: new pods queue up, vanished ones leave, and
// room that appeared wakes those that fit into it.
func (b *Broker) Apply(batch feed.Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	gained := b.observe(batch)
	if batch.Reset {
		b.rescan()
	}
	for _, c := range batch.Changes {
		if c.Pod != nil {
			b.track(c.Pod, c.Gone)
		}
	}
	b.gain(gained)
	b.stir()
	b.reoffer()
	b.synced = true
	b.dispatch()
}

// observe applies the batch to the mirror and gives the nodes that can take more
// than before: all that changed other than by a pod that was put on them.
func (b *Broker) observe(batch feed.Batch) []gained {
	if batch.Reset {
		b.mirror.Apply(batch)
		return nil // rescan looks at everything
	}
	var gains []gained
	for _, c := range batch.Changes {
		was, had := int32(0), false
		kept, keeps := int32(0), false // room that is being made for the pod
		if c.Pod != nil {
			was, had = b.mirror.Placed(c.Pod.UID)
			kept, keeps = b.mirror.Nominated(c.Pod.UID)
		}
		position := b.mirror.Position()
		b.mirror.ApplyOne(c)
		touched, ok := b.mirror.Since(position)
		switch {
		case !ok || len(touched) == 0:
		case c.Node != nil && !c.Gone:
			gains = append(gains, gained{touched[0], plan.Revision{Nodes: c.Revision}})
		case c.Drivers != nil:
			gains = append(gains, gained{touched[0], plan.Revision{Spaces: c.Revision}})
		case had:
			gains = append(gains, gained{was, plan.Revision{Pods: c.Revision}})
		case keeps:
			if at, still := b.mirror.Nominated(c.Pod.UID); !still || at != kept {
				gains = append(gains, gained{kept, plan.Revision{Pods: c.Revision}})
			}
		}
	}
	batch.Changes = nil
	b.mirror.Apply(batch)
	return gains
}

// rescan makes the set of waiting pods equal to the mirror's after a reset, and
// lets everything parked try again.
func (b *Broker) rescan() {
	for _, w := range b.pods {
		if b.mirror.Pod(w.uid) == nil {
			b.leave(w)
		}
	}
	for _, g := range b.groups {
		b.wake(g, g.parked.live)
	}
}

// track follows one pod version.
func (b *Broker) track(p *shape.Pod, gone bool) {
	waits := !gone && p.Pending() && !p.Shape.Gated && !p.Shape.Waits() && b.ours[p.Shape.SchedulerName]
	w := b.pods[p.UID]
	if w != nil && (!waits || w.group.key != keyOf(p) || w.pod.Self != p.Self) {
		b.leave(w)
		w = nil
	}
	if waits && w == nil {
		b.join(p)
	}
}

func keyOf(p *shape.Pod) key { return key{p.Shape, p.Owner} }

// Take waits for work until ctx ends.
func (b *Broker) Take(ctx context.Context, _ string) (*plan.Eval, error) {
	got := make(chan *plan.Eval, 1)
	cancel := b.Offer(func(e *plan.Eval) { got <- e })
	select {
	case e := <-got:
		return e, nil
	case <-ctx.Done():
		if !cancel() {
			b.Return((<-got).ID)
		}
		return nil, ctx.Err()
	}
}

// Offer registers somebody who can take work; give is called once, soon, and must
// not block. cancel takes the offer back and tells whether that was in time.
func (b *Broker) Offer(give func(*plan.Eval)) (cancel func() bool) {
	t := &taker{give: give}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.takers = append(b.takers, t)
	b.dispatch()
	return func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		if t.gone {
			return false
		}
		for i := range b.takers {
			if b.takers[i] == t {
				b.takers = append(b.takers[:i], b.takers[i+1:]...)
				break
			}
		}
		t.gone = true
		return true
	}
}

// Return queues an evaluation again that nobody works on.
func (b *Broker) Return(id uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finish(id, nil)
	b.dispatch()
}

// dispatch gives work to those who wait for it.
func (b *Broker) dispatch() {
	for b.synced && len(b.takers) > 0 && b.ready.Len() > 0 {
		t := b.takers[0]
		b.takers = b.takers[1:]
		t.gone = true
		t.give(b.next())
	}
}

// next makes an evaluation of the group whose turn it is. Groups of one pod that are of
// its kind go along, such as those of a DaemonSet, which differ in their nodes: pods that
// stand alone need no spreading.
func (b *Broker) next() *plan.Eval {
	g := b.ready.pop()
	alone := g.alone(b.mirror)
	b.lastID++
	e := &plan.Eval{ID: b.lastID, Owner: g.spread(), Pods: g.take(plan.MostPods), After: b.mirror.Seen()}
	l := &lease{groups: []*group{g}}
	if alone {
		e.Owner = ""
		for len(e.Pods) < plan.MostPods {
			other := b.ready.popLike(g, b.mirror)
			if other == nil {
				break
			}
			e.Pods = append(e.Pods, other.take(1)...)
			l.groups = append(l.groups, other)
		}
	}
	id := e.ID
	l.timer = time.AfterFunc(b.options.Lease, func() {
		b.options.Logger.Warn("a worker kept an evaluation too long, giving it to another", zap.Uint64("eval", id))
		b.Return(id)
	})
	b.out[id] = l
	return e
}

// Counts is what waits.
type Counts struct {
	Waiting int // all pending pods known
	Parked  int // of these, pods that fit on no node
	Out     int // evaluations in workers' hands
}

// Counts is for metrics.
func (b *Broker) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := Counts{Waiting: len(b.pods), Out: len(b.out)}
	for _, g := range b.groups {
		c.Parked += g.parked.live
	}
	return c
}
