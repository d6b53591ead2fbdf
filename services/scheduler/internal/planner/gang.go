package planner

import (
	"context"
	"time"

	"go.uber.org/zap"

	"kubus.dev/services/scheduler/internal/plan"
)

// verifyGang lets all placements of a gang into the ledger, or none.
func (p *Planner) verifyGang(c *call, placements []plan.Placement) {
	var items []*item
	for _, placement := range placements {
		it := p.member(c, placement)
		if it == nil {
			break
		}
		items = append(items, it)
	}
	holds := len(items) == len(placements)
	if holds {
		g := p.ledger.GangOf(items[0].Pod)
		holds = g.Placed >= g.Size
	}
	if !holds {
		for _, it := range items {
			p.ledger.Forget(it.Pod.UID)
		}
		for _, placement := range placements {
			p.turnAway(c, placement)
		}
		return
	}
	c.left += len(items)
	p.busy.Add(int64(len(items)))
	p.gangs = append(p.gangs, items)
	select {
	case p.ganged <- struct{}{}:
	default:
	}
}

// member lets one placement of a gang into the ledger; nil when it does not hold.
func (p *Planner) member(c *call, placement plan.Placement) *item {
	pod := p.ledger.Pod(placement.UID)
	if pod == nil || !pod.Pending() || pod.Shape.Gated || !pod.Shape.Placeable() || pod.Shape.Unbound() {
		return nil
	}
	if _, placed := p.ledger.Placed(placement.UID); placed {
		return nil
	}
	ask := p.ledger.Ask(pod)
	at, ok := p.choose(&ask, placement)
	if !ok {
		return nil
	}
	p.ledger.Assume(placement.UID, at)
	node := p.ledger.Node(at).Name
	return &item{Binding: Binding{Pod: pod, Node: node}, call: c, moved: node != placement.Node}
}

// turnAway says of a placement whose gang was not let in whether there is still a pod to place.
func (p *Planner) turnAway(c *call, placement plan.Placement) {
	pod := p.ledger.Pod(placement.UID)
	if _, placed := p.ledger.Placed(placement.UID); placed || pod == nil || !pod.Pending() {
		c.result.Dropped = append(c.result.Dropped, placement.UID)
		return
	}
	c.result.Rejected = append(c.result.Rejected, placement.UID)
}

// bindGangs commits gangs one after the other.
func (p *Planner) bindGangs(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.ganged:
		}
		p.ledger.Lock()
		gangs := p.gangs
		p.gangs = nil
		p.ledger.Unlock()
		for _, items := range gangs {
			if p.bindGang(ctx, items) != nil {
				return nil
			}
		}
	}
}

// bindGang asks for a gang's bindings until it is known what became of them: the binder finds
// out by looking at the pods. Until then the ledger keeps the room.
func (p *Planner) bindGang(ctx context.Context, items []*item) error {
	bindings := make([]Binding, len(items))
	for i, it := range items {
		bindings[i] = it.Binding
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		verdict, err := p.binder.BindAll(ctx, bindings)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && verdict.Outcome != Unknown {
			verdicts := make([]Verdict, len(items))
			for i := range verdicts {
				verdicts[i] = verdict
			}
			p.settle(items, verdicts, true)
			return nil
		}
		p.options.Logger.Warn("binding a gang, will try again", zap.Int("pods", len(items)), zap.String("reason", verdict.Error), zap.Error(err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
