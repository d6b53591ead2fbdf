package planner

import (
	"context"
	"time"

	"go.uber.org/zap"

	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/preempt"
	"kubus.dev/services/scheduler/internal/shape"
)

// Preemption is room that is to be made for a pod: the victims are deleted, the pod is
// nominated to the node, and less important pods that were nominated there are not any more.
// With Node "" the pod's nomination is taken back.
type Preemption struct {
	Pod      *shape.Pod
	Node     string
	Victims  []*shape.Pod // those that are being deleted already are not among them
	Displace []*shape.Pod
}

// taking is a preemption on its way.
type taking struct {
	Preemption
	victims []string // all of them
	call    *call
}

// attempts is how often a preemption of unknown outcome is tried; then its pod is decided anew.
const attempts = 5

// consider lets a preemption into the ledger and on its way, if it still helps.
func (p *Planner) consider(c *call, proposal plan.Preemption) {
	t := &taking{victims: proposal.Victims, call: c}
	if t.Pod = p.ledger.Pod(proposal.UID); t.Pod == nil || !t.Pod.Pending() {
		c.result.Spared = append(c.result.Spared, proposal.UID)
		return
	}
	if proposal.Node != "" && !p.helps(t, proposal) {
		c.result.Spared = append(c.result.Spared, proposal.UID)
		return
	}
	c.left++
	p.busy.Add(1)
	p.taken = append(p.taken, t)
	select {
	case p.taking <- struct{}{}:
	default:
	}
}

// helps verifies a preemption against the ledger, which then keeps the room.
func (p *Planner) helps(t *taking, proposal plan.Preemption) bool {
	at, ok := p.ledger.Index(proposal.Node)
	if _, placed := p.ledger.Placed(proposal.UID); !ok || placed {
		return false
	}
	victims := make([]*shape.Pod, len(proposal.Victims))
	for i, uid := range proposal.Victims {
		if victims[i] = p.ledger.Pod(uid); victims[i] == nil || victims[i].NodeName == "" {
			return false
		}
	}
	if !preempt.Holds(p.ledger.Mirror, t.Pod, at, victims) {
		return false
	}
	t.Node = proposal.Node
	for _, v := range victims {
		p.ledger.Doom(v.UID)
		if !v.Deleting {
			t.Victims = append(t.Victims, v)
		}
	}
	t.Displace = p.ledger.Nominees(at, t.Pod.Shape.Priority)
	p.ledger.Nominate(proposal.UID, at)
	return true
}

// preempt takes pods away, apart from the bindings, which it must not hold up.
func (p *Planner) preempt(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.taking:
		}
		p.ledger.Lock()
		taken := p.taken
		p.taken = nil
		p.ledger.Unlock()
		if len(taken) == 0 {
			continue
		}
		if err := p.take(ctx, taken); err != nil {
			return nil
		}
	}
}

func (p *Planner) take(ctx context.Context, taken []*taking) error {
	wait := 50 * time.Millisecond
	for try := 1; len(taken) > 0; try++ {
		preemptions := make([]Preemption, len(taken))
		for i, t := range taken {
			preemptions[i] = t.Preemption
		}
		verdicts, err := p.binder.Preempt(ctx, preemptions)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			p.options.Logger.Warn("preempting pods", zap.Int("pods", len(taken)), zap.Error(err))
			verdicts = make([]Verdict, len(taken))
		}
		if taken = p.took(taken, verdicts, try == attempts); len(taken) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
	return nil
}

// took takes over verdicts and gives what is still unknown and to be tried again.
func (p *Planner) took(taken []*taking, verdicts []Verdict, last bool) []*taking {
	var unknown []*taking
	p.ledger.Lock()
	for i, t := range taken {
		switch outcome := verdicts[i].Outcome; {
		case outcome == Unknown && !last:
			unknown = append(unknown, t)
			continue
		case outcome != Bound:
			p.ledger.Denominate(t.Pod.UID)
			for _, uid := range t.victims {
				p.ledger.Spare(uid)
			}
			t.call.result.Spared = append(t.call.result.Spared, t.Pod.UID)
		}
		p.busy.Add(-1)
		if t.call.left--; t.call.left == 0 {
			close(t.call.done)
		}
	}
	p.ledger.Unlock()
	if p.options.Preempted == nil {
		return unknown
	}
	for i, t := range taken {
		if verdicts[i].Outcome == Bound {
			for _, v := range t.Victims {
				p.options.Preempted(v, t.Pod, t.Node)
			}
		}
	}
	return unknown
}
