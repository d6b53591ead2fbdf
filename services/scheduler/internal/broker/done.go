package broker

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"kubus.dev/services/scheduler/internal/plan"
)

// Done takes a worker's answer: parks what fits nowhere, unless something has
// changed meanwhile that could let it in, and puts off what failed.
func (b *Broker) Done(_ context.Context, o plan.Outcome) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.Error != "" {
		b.options.Logger.Info("pods are put off", zap.Int("pods", len(o.Retry)), zap.String("reason", o.Error))
	}
	b.finish(o.ID, &o)
	b.release(o.Released)
	b.reoffer()
	b.dispatch()
	return nil
}

// finish ends a lease. Without an outcome all its pods queue again.
func (b *Broker) finish(id uint64, o *plan.Outcome) {
	l := b.out[id]
	if l == nil {
		b.late(o)
		return
	}
	l.timer.Stop()
	delete(b.out, id)
	failed, retry := map[string]bool{}, map[string]bool{}
	if o != nil {
		failed, retry = set(o.Failed), set(o.Retry)
	}
	for _, g := range l.groups {
		b.settle(g, o, failed, retry)
	}
	b.late(o) // of a gang there may be others that were let go of
}

// late takes an answer about pods that are not of its lease, or whose lease ran out before.
// They were given to another, who may have let go of them because the planner had them from
// this one.
func (b *Broker) late(o *plan.Outcome) {
	if o == nil {
		return
	}
	for _, uid := range slices.Concat(o.Retry, o.Failed) {
		if p := b.mirror.Pod(uid); p != nil {
			b.track(p, false)
		}
	}
}

func set(list []string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, s := range list {
		m[s] = true
	}
	return m
}

// settle sorts a group's taken pods by what became of them. Those that the
// outcome does not name are placed: the log will say so, and they leave.
func (b *Broker) settle(g *group, o *plan.Outcome, failed, retry map[string]bool) {
	taken := g.taken.pods
	g.taken, g.out = list{}, false
	parked, again := false, false
	for _, w := range taken {
		switch {
		case w == nil || w.left:
		case o == nil || retry[w.uid]:
			g.queued.add(w)
			again = again || o != nil
		case failed[w.uid]:
			g.parked.add(w)
			parked = true
			b.decided(w)
		default:
			b.placed(w)
		}
	}
	if again {
		b.delay(g)
	} else {
		g.retries = 0
	}
	if parked {
		b.park(g, o, failed)
	}
	b.makeReady(g)
	b.dropIfEmpty(g)
}

// placed lets go of a pod that the worker says is bound or gone. Should the log
// disagree in the end, its next version of the pod lets it join again.
func (b *Broker) placed(w *waiting) {
	b.decided(w)
	delete(b.pods, w.uid)
}

// delay puts a group off, longer each time, as upstream's back-off.
func (b *Broker) delay(g *group) {
	wait := min(b.options.Backoff<<min(g.retries, 10), b.options.MostBackoff)
	g.retries++
	g.putOff = time.AfterFunc(wait, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if g.putOff == nil {
			return
		}
		g.putOff = nil
		b.makeReady(g)
		b.dispatch()
	})
}

// park keeps the group's pods that fit nowhere until there is room. What was
// gained behind the worker's back counts at once.
func (b *Broker) park(g *group, o *plan.Outcome, failed map[string]bool) {
	g.tried = o.At
	if b.options.Unschedulable != nil {
		for _, w := range g.parked.pods {
			if w == nil || w.left {
				continue
			}
			message, told := o.Says(w.uid), w.told
			if !failed[w.uid] || message == told {
				continue
			}
			if p := b.mirror.Pod(w.uid); p != nil {
				w.told = message
				b.options.Unschedulable(p, message)
			}
		}
	}
	if b.stirred(g) {
		b.wake(g, g.parked.live)
	} else if n := b.fitsSince(g); n > 0 {
		b.wake(g, n)
	}
}

// wake queues the first n parked pods again, and before them those for which room is being
// made somewhere: what is kept for one of them is no room for the others. Where rules about
// other pods have to do with the group, its pods are not alike, and all are woken.
func (b *Broker) wake(g *group, n int) {
	if b.social(g) {
		n = g.parked.live
	}
	for _, uid := range b.mirror.Expected() {
		if w := b.pods[uid]; w != nil && w.list == &g.parked {
			b.wakeOne(w)
		}
	}
	for _, w := range g.parked.take(n) {
		b.queue(w)
	}
	b.makeReady(g)
}

// wakeOne queues one parked pod again.
func (b *Broker) wakeOne(w *waiting) {
	w.group.parked.remove(w)
	b.queue(w)
	b.makeReady(w.group)
}

func (b *Broker) queue(w *waiting) {
	w.group.queued.add(w)
	if !w.woken {
		w.woken = true
		b.woken++
	}
}

// decided ends the wait for a woken pod. When all are decided, room that was
// offered to them and not used is offered to others: a pod that was deleted, or
// placed elsewhere, must not keep a slot from those who sleep.
func (b *Broker) decided(w *waiting) {
	if !w.woken {
		return
	}
	w.woken = false
	if b.woken--; b.woken == 0 {
		b.settled = true
	}
}
