package planner

import (
	"context"
	"time"

	"go.uber.org/zap"

	"kubus.dev/services/scheduler/internal/plan"
)

// send commits what is queued in a lane, as much at once as a bulk takes. What comes while
// a bulk is on its way waits for the next sender and goes together.
func (p *Planner) send(ctx context.Context, l *lane) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.work:
		}
		for items := p.next(l); len(items) > 0; items = p.next(l) {
			if l == &p.tied && !p.await(ctx, items[len(items)-1].seq) {
				return nil
			}
			if err := p.commit(ctx, items); err != nil {
				return nil
			}
		}
	}
}

// await returns when every binding of the free lane that was verified before seq is settled;
// false when ctx ended.
func (p *Planner) await(ctx context.Context, seq uint64) bool {
	for {
		p.ledger.Lock()
		waits := false
		for s := range p.open {
			waits = waits || s < seq
		}
		p.ledger.Unlock()
		if !waits {
			return true
		}
		select {
		case <-p.settled:
		case <-ctx.Done():
			return false
		}
	}
}

// next removes up to a bulk from a lane, and wakes another sender for the rest.
func (p *Planner) next(l *lane) []*item {
	p.ledger.Lock()
	n := min(len(l.queue), plan.MostPods)
	items := l.queue[:n:n]
	l.queue = l.queue[n:]
	more := len(l.queue) > 0
	if !more {
		l.queue = nil
	}
	p.ledger.Unlock()
	if more {
		l.wake()
	}
	return items
}

// tries is how often a binding of unknown outcome is asked for; then its pod goes back, so
// that one that cannot be told of does not hold up the others.
const tries = 5

// commit binds the items and settles each. An unknown outcome is settled by
// asking for the very same binding again: it either succeeds, or the API says
// that the pod is bound already. Until then the ledger keeps the room. While the
// API cannot be reached at all, it is asked on and on.
func (p *Planner) commit(ctx context.Context, items []*item) error {
	try := 1
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
			items = p.settle(items, verdicts, try == tries)
			try++
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

// settle takes over verdicts and gives the items that are still unknown and to be asked
// for again; the last time they are given up.
func (p *Planner) settle(items []*item, verdicts []Verdict, last bool) []*item {
	var unknown []*item
	p.ledger.Lock()
	for i, it := range items {
		c := it.call
		switch verdicts[i].Outcome {
		case Unknown:
			if !last {
				unknown = append(unknown, it)
				continue
			}
			p.giveUp(it, verdicts[i].Error)
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
		delete(p.open, it.seq)
		p.busy.Add(-1)
		if c.left--; c.left == 0 {
			close(c.done)
		}
	}
	p.ledger.Unlock()
	select {
	case p.settled <- struct{}{}:
	default:
	}
	if p.options.Bound != nil {
		for i, it := range items {
			if verdicts[i].Outcome == Bound {
				p.options.Bound(it.Pod, it.Node)
			}
		}
	}
	return unknown
}

// giveUp hands a pod back though nobody knows whether it was bound. Its room stays taken;
// planned again, it is asked for on the same node.
func (p *Planner) giveUp(it *item, why string) {
	for uid := range p.doubt {
		if pod := p.ledger.Pod(uid); pod == nil || !pod.Pending() {
			delete(p.doubt, uid)
		}
	}
	p.doubt[it.Pod.UID] = true
	it.call.result.Refused = append(it.call.result.Refused, it.Pod.UID)
	it.call.result.Error = "it is not known whether the pod was bound: " + why
}
