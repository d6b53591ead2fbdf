package simulation

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/plan"
)

// counting is the broker, with the pods counted that workers are asked about.
type counting struct {
	plan.Queue
	w *world
}

func (c counting) Take(ctx context.Context, slot string) (*plan.Eval, error) {
	e, err := c.Queue.Take(ctx, slot)
	if e != nil {
		c.w.asked.Add(int64(len(e.Pods)))
	}
	return e, err
}

// H12: 10,000 pods that fit nowhere cost the others nothing: they are asked about once, and
// again only for room that they fit into, at most 1.1 times for each slot that is freed.
func TestH12TenThousandUnschedulablePods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		for i := range 50 {
			w.change(feed.Change{Node: aNode(fmt.Sprintf("n%d", i), 8000)})
		}
		var changes []feed.Change
		for i := range 10_000 { // each of 100 owners its own size, above every node's
			changes = append(changes, feed.Change{Pod: aPod(fmt.Sprintf("big%d", i), fmt.Sprintf("rs%d", i%100), aShape(int64(9000+i%100)))})
		}
		w.change(changes...)
		w.settle()
		if got := w.asked.Load(); got != 10_000 {
			t.Errorf("10,000 pods that fit nowhere were asked about %d times", got)
		}

		w.asked.Store(0)
		small := aShape(1000)
		changes = nil
		for i := range 300 {
			changes = append(changes, feed.Change{Pod: aPod(fmt.Sprintf("small%d", i), "web", small)})
		}
		w.change(changes...)
		w.settle()
		if got := w.asked.Load(); got != 300 || w.bound != 300 {
			t.Errorf("300 pods that fit: %d bound, %d asked about", w.bound, got)
		}

		// 400 slots on 50 nodes, 300 taken: of 200 more 100 wait, and get the slots that are freed.
		changes = nil
		for i := range 200 {
			changes = append(changes, feed.Change{Pod: aPod(fmt.Sprintf("more%d", i), "late", small)})
		}
		w.change(changes...)
		w.settle()
		w.asked.Store(0)
		for i := range 50 {
			w.change(feed.Change{Pod: w.pods[fmt.Sprintf("uid-small%d", i)], Gone: true})
			w.settle()
		}
		if got := w.asked.Load(); w.bound != 450 || got > 55 {
			t.Errorf("50 freed slots: %d bound in all, want 450; %d asked about, want at most 55", w.bound, got)
		}
		w.checkAwake()
	})
}

// S6: of those that fit, the more important get the room.
func TestS6HigherPriorityFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		var changes []feed.Change
		for i := range 60 {
			p := int32(i % 3)
			never := corev1.PreemptNever
			changes = append(changes, feed.Change{Pod: aPod(fmt.Sprintf("p%d-%d", p, i), fmt.Sprintf("rs%d", p), aShape(1000, func(pod *corev1.Pod) {
				pod.Spec.Priority, pod.Spec.PreemptionPolicy = &p, &never
			}))})
		}
		w.change(changes...)
		w.settle() // what a worker has in hand already goes before
		w.change(feed.Change{Node: aNode("n", 20_000)})
		w.settle()
		for _, p := range w.pods {
			if (p.NodeName != "") != (p.Shape.Priority == 2) {
				t.Errorf("%s of priority %d is on %q; the node takes the 20 most important", p, p.Shape.Priority, p.NodeName)
			}
		}
	})
}
