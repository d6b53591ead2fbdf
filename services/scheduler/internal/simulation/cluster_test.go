// Package simulation runs the scheduler's roles together over a state log that is
// a slice in memory, and checks what they promise as a whole: never over-committed,
// nobody left asleep while there is room, every pod decided once.
package simulation

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/scheduler/internal/broker"
	"kubus.dev/services/scheduler/internal/claim"
	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/planner"
	"kubus.dev/services/scheduler/internal/shape"
	"kubus.dev/services/scheduler/internal/worker"
)

// world is a log with everybody who reads it.
type world struct {
	t       testing.TB
	mu      sync.Mutex
	rev     uint64
	pods    map[string]*shape.Pod
	nodes   map[string]*corev1.Node
	truth   *cluster.Mirror // what the log says, for the checks
	catalog *claim.Catalog
	sinks   []feed.Sink
	broker  *broker.Broker
	planner *planner.Planner
	latency func() time.Duration
	answer  func(planner.Binding) *planner.Verdict // overrides the API's answer
	bulks   int
	bound   int
	told    map[string]string
	quiet   bool // nothing is deleted: rules that depend on who is there hold at each commit

	gangAnswer func() (v *planner.Verdict, early bool) // overrides the API's answer for gangs, before or after the deed

	asked     atomic.Int64 // pods in evaluations that workers took
	preempted []string     // pods taken away, in order
	grace     time.Duration
}

func newWorld(t testing.TB, workers int) *world {
	w := &world{t: t, pods: map[string]*shape.Pod{}, nodes: map[string]*corev1.Node{}, truth: cluster.New(), catalog: claim.New(), told: map[string]string{}}
	log := zap.NewNop()
	w.planner = planner.New(w, planner.Options{InFlight: 3, Logger: log})
	w.broker = broker.New(broker.Options{SchedulerNames: []string{"default-scheduler"}, Logger: log, Unschedulable: func(p *shape.Pod, m string) {
		w.told[p.UID] = m // under the broker's lock
	}})
	w.sinks = append(w.sinks, w.planner.Feed())
	ctx, cancel := context.WithCancel(t.Context())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.planner.Run(ctx) })
	for i := range workers {
		k := worker.New(counting{w.broker, w}, w.planner, worker.Options{Name: fmt.Sprint(i), InFlight: 2, Seed: uint64(i + 1), Logger: log})
		w.sinks = append(w.sinks, k)
		group.Go(func() error { return k.Run(ctx) })
	}
	w.sinks = append(w.sinks, w.broker)
	t.Cleanup(func() {
		cancel()
		_ = group.Wait()
	})
	return w
}

// commit appends to the log and tells everybody, with the lock held.
func (w *world) commit(changes ...feed.Change) {
	w.rev++
	for i, c := range changes {
		changes[i].Revision = w.rev
		if c.Pod != nil {
			p := *c.Pod
			p.Revision = w.rev
			changes[i].Pod = w.catalog.Pod(&p, c.Gone)
			if c.Gone {
				delete(w.pods, p.UID)
			} else {
				w.pods[p.UID] = changes[i].Pod
			}
			continue
		}
		if c.Gone {
			delete(w.nodes, c.Node.Name)
		} else {
			w.nodes[c.Node.Name] = c.Node
		}
	}
	b := feed.Batch{Changes: changes}
	for _, c := range changes {
		if c.Pod != nil {
			b.PodRevision = w.rev
		} else {
			b.NodeRevision = w.rev
		}
	}
	w.truth.Apply(b)
	for _, s := range w.sinks {
		s.Apply(b)
	}
}

func (w *world) change(changes ...feed.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.commit(changes...)
}

// Bind is the API: it refuses what upstream's would, and nothing else. That the
// node has room is the planner's to know; the test fails if it has not.
func (w *world) Bind(_ context.Context, bindings []planner.Binding) ([]planner.Verdict, error) {
	if w.latency != nil {
		time.Sleep(w.latency())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bulks++
	verdicts := make([]planner.Verdict, len(bindings))
	var changes []feed.Change
	for i, b := range bindings {
		if w.answer != nil {
			if v := w.answer(b); v != nil {
				verdicts[i] = *v
				continue
			}
		}
		p := w.pods[b.Pod.UID]
		if p == nil || p.NodeName != "" || p.Deleting {
			verdicts[i] = planner.Verdict{Outcome: planner.Gone}
			continue
		}
		// A taint that came while the binding was on its way is nobody's fault.
		if at, ok := w.truth.Index(b.Node); ok && w.truth.Node(at).Present {
			switch r := w.truth.View(p).Check(at); r {
			case filter.AntiAffinity, filter.ExistingAntiAffinity:
				w.t.Errorf("%s was bound to %s against the rules of pods: %v", p, b.Node, r)
			case filter.OK:
			default: // somebody may have gone since it was verified
				if w.quiet {
					w.t.Errorf("%s was bound to %s against the rules of pods: %v", p, b.Node, r)
				}
			}
		}
		if at, ok := w.truth.Index(b.Node); ok && w.truth.Node(at).Present {
			if r := filter.Fit(p.Shape, w.truth.Node(at)); r != filter.OK {
				w.t.Errorf("%s was bound to %s, which has no room: %v", p, b.Node, r)
			}
			if r := filter.Volumes(p.Shape, w.truth.Node(at)); r != filter.OK || !p.Shape.Placeable() {
				w.t.Errorf("%s was bound to %s, where its volumes are not: %v", p, b.Node, r)
			}
		}
		q := *p
		q.NodeName = b.Node
		verdicts[i] = planner.Verdict{Outcome: planner.Bound}
		w.bound++
		w.truth.ApplyOne(feed.Change{Pod: &q}) // so that the check of the next sees it
		changes = append(changes, feed.Change{Pod: &q})
	}
	if len(changes) > 0 {
		w.commit(changes...)
	}
	return verdicts, nil
}

// BindAll is the API for gangs.
func (w *world) BindAll(ctx context.Context, bindings []planner.Binding) (planner.Verdict, error) {
	if w.gangAnswer != nil {
		if v, early := w.gangAnswer(); v != nil && early {
			return *v, nil
		} else if v != nil { // the answer is lost
			_, _ = w.bindAll(ctx, bindings)
			return *v, nil
		}
	}
	return w.bindAll(ctx, bindings)
}

func (w *world) bindAll(ctx context.Context, bindings []planner.Binding) (planner.Verdict, error) {
	w.mu.Lock()
	there := 0
	for _, b := range bindings {
		switch p := w.pods[b.Pod.UID]; {
		case p == nil || p.Deleting || p.NodeName != "" && p.NodeName != b.Node:
			w.mu.Unlock()
			return planner.Verdict{Outcome: planner.Refused, Error: "one is gone"}, nil
		case p.NodeName != "":
			there++
		}
	}
	w.mu.Unlock()
	if there == len(bindings) {
		return planner.Verdict{Outcome: planner.Bound}, nil
	}
	verdicts, err := w.Bind(ctx, bindings)
	if err != nil {
		return planner.Verdict{}, err
	}
	for _, v := range verdicts {
		if v.Outcome != planner.Bound {
			w.t.Errorf("a gang was bound in part: %v", verdicts)
		}
	}
	return planner.Verdict{Outcome: planner.Bound}, nil
}

// Preempt is the API for preemptions: victims go after their grace period.
func (w *world) Preempt(_ context.Context, preemptions []planner.Preemption) ([]planner.Verdict, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	verdicts := make([]planner.Verdict, len(preemptions))
	for i, p := range preemptions {
		verdicts[i].Outcome = planner.Bound
		nominate := func(uid, node string) {
			if now := w.pods[uid]; now != nil && now.Pending() {
				q := *now
				q.Nominated = node
				w.commit(feed.Change{Pod: &q})
			}
		}
		nominate(p.Pod.UID, p.Node)
		for _, lower := range p.Displace {
			nominate(lower.UID, "")
		}
		for _, v := range p.Victims {
			now := w.pods[v.UID]
			if now == nil || now.Deleting {
				continue
			}
			if now.Shape.Priority >= p.Pod.Shape.Priority {
				w.t.Errorf("%s was preempted by %s, which is no more important", v, p.Pod)
			}
			w.preempted = append(w.preempted, v.Name)
			q := *now
			q.Deleting, q.Preempted = true, true
			w.commit(feed.Change{Pod: &q})
			time.AfterFunc(w.grace, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				if now := w.pods[q.UID]; now != nil {
					w.commit(feed.Change{Pod: now, Gone: true})
				}
			})
		}
	}
	return verdicts, nil
}

// settle waits until nobody has anything to do.
func (w *world) settle() {
	synctest.Wait()
	for w.planner.Busy() {
		time.Sleep(time.Second)
		synctest.Wait()
	}
}

// checkAwake fails when a pending pod fits on a node: somebody was left asleep.
func (w *world) checkAwake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pods {
		if !p.Pending() || p.Shape.Gated {
			continue
		}
		for i := range w.truth.Slots() {
			ask := w.truth.Ask(p)
			if n := w.truth.Node(int32(i)); n.Present && w.truth.Check(&ask, int32(i)) == filter.OK {
				w.t.Errorf("%s (priority %d, nominated to %q, told %q) is pending though it fits on %s; %+v", p, p.Shape.Priority, p.Nominated, w.told[p.UID], n.Name, w.broker.Counts())
				return
			}
		}
	}
}

// checkRoom fails when a node holds more than it has.
func (w *world) checkRoom() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.truth.Slots() {
		n := w.truth.Node(int32(i))
		if n.Present && (n.Used.MilliCPU > n.Allocatable.MilliCPU || n.Used.Memory > n.Allocatable.Memory || n.Pods > n.AllowedPods) {
			w.t.Errorf("node %s is over-committed: %+v of %+v, %d pods of %d", n.Name, n.Used, n.Allocatable, n.Pods, n.AllowedPods)
		}
	}
}

func aNode(name string, milliCPU int64, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(milliCPU, resource.DecimalSI),
		corev1.ResourceMemory: resource.MustParse("64Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func aShape(milliCPU int64, change ...func(*corev1.Pod)) *shape.Shape {
	p := &corev1.Pod{}
	p.Spec.SchedulerName = "default-scheduler"
	p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: *resource.NewMilliQuantity(milliCPU, resource.DecimalSI),
	}}}}
	for _, c := range change {
		c(p)
	}
	return shape.New(p)
}

// nobody is who pods without labels are.
var nobody = &shape.Identity{Namespace: "default"}

func aPod(name, owner string, s *shape.Shape) *shape.Pod {
	return &shape.Pod{Namespace: "default", Name: name, UID: "uid-" + name, Owner: owner, Spreads: owner != "", Shape: s, Self: nobody}
}
