package planner

import (
	"context"
	"time"

	"go.uber.org/zap"

	"kubus.dev/services/scheduler/internal/plan"
)

// send commits what is queued, as much at once as a bulk takes. What comes while
// a bulk is on its way waits for the next sender and goes together.
func (p *Planner) send(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.work:
		}
		for items := p.take(); len(items) > 0; items = p.take() {
			if err := p.commit(ctx, items); err != nil {
				return nil
			}
		}
	}
}

// take removes up to a bulk from the queue, and wakes another sender for the rest.
func (p *Planner) take() []*item {
	p.ledger.Lock()
	n := min(len(p.queue), plan.MostPods)
	items := p.queue[:n:n]
	p.queue = p.queue[n:]
	more := len(p.queue) > 0
	if !more {
		p.queue = nil
	}
	p.ledger.Unlock()
	if more {
		p.wake()
	}
	return items
}

// commit binds the items and settles each. An unknown outcome is settled by
// asking for the very same binding again: it either succeeds, or the API says
// that the pod is bound already. Until then the ledger keeps the room.
func (p *Planner) commit(ctx context.Context, items []*item) error {
	for wait := 50 * time.Millisecond; len(items) > 0; wait = min(2*wait, 5*time.Second) {
		bindings := make([]Binding, len(items))
		for i, it := range items {
			bindings[i] = it.Binding
		}
		verdicts, err := p.binder.Bind(ctx, bindings)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			p.options.Logger.Warn("binding pods, will try again", zap.Int("pods", len(items)), zap.Error(err))
		} else {
			items = p.settle(items, verdicts)
		}
		if len(items) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	return nil
}

// settle takes over verdicts and gives the items that are still unknown.
func (p *Planner) settle(items []*item, verdicts []Verdict) []*item {
	var unknown []*item
	p.ledger.Lock()
	for i, it := range items {
		c := it.call
		switch verdicts[i].Outcome {
		case Unknown:
			unknown = append(unknown, it)
			continue
		case Bound, Prepared:
			if it.moved {
				c.result.Moved = append(c.result.Moved, plan.Placement{UID: it.Pod.UID, Node: it.Node})
			}
		case Gone:
			// The ledger keeps the room until the log tells what became of the pod:
			// an earlier, unanswered try of ours may have bound it.
			c.result.Dropped = append(c.result.Dropped, it.Pod.UID)
		case Refused:
			p.ledger.Forget(it.Pod.UID)
			c.result.Refused, c.result.Error = append(c.result.Refused, it.Pod.UID), verdicts[i].Error
		}
		p.busy.Add(-1)
		if c.left--; c.left == 0 {
			close(c.done)
		}
	}
	p.ledger.Unlock()
	if p.options.Bound != nil {
		for i, it := range items {
			if verdicts[i].Outcome == Bound {
				p.options.Bound(it.Pod, it.Node)
			}
		}
	}
	return unknown
}
