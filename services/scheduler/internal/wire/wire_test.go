package wire

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/services/scheduler/internal/broker"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/planner"
	"kubus.dev/services/scheduler/internal/shape"
	"kubus.dev/services/scheduler/internal/worker"
)

// book notes what was bound.
type book struct {
	mu    sync.Mutex
	bound map[string]string
	all   chan struct{}
	want  int
}

func (b *book) Bind(_ context.Context, bindings []planner.Binding) ([]planner.Verdict, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]planner.Verdict, len(bindings))
	for i, x := range bindings {
		b.bound[x.Pod.UID] = x.Node
		out[i].Outcome = planner.Bound
	}
	if len(b.bound) == b.want {
		close(b.all)
	}
	return out, nil
}

// BindAll is not asked for here.
func (b *book) BindAll(ctx context.Context, bindings []planner.Binding) (planner.Verdict, error) {
	_, err := b.Bind(ctx, bindings)
	return planner.Verdict{Outcome: planner.Bound}, err
}

// Preempt is not asked for here.
func (b *book) Preempt(_ context.Context, preemptions []planner.Preemption) ([]planner.Verdict, error) {
	return nil, fmt.Errorf("%d preemptions among pods of one priority", len(preemptions))
}

func TestWorkersOfOtherProcessesPlaceEveryPodOnce(t *testing.T) {
	server := bustest.Server(t)
	home := bustest.Connect(t, server)
	log := zap.NewNop()
	notes := &book{bound: map[string]string{}, all: make(chan struct{}), want: 60}
	p := planner.New(notes, planner.Options{Logger: log})
	b := broker.New(broker.Options{SchedulerNames: []string{"default-scheduler"}, Logger: log})

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = p.Run(ctx) })
	running.Go(func() { _ = ServeBroker(ctx, home, b, log) })
	running.Go(func() { _ = ServePlanner(ctx, home, p, log) })
	sinks := []feed.Sink{p.Feed()}
	for i := range 2 {
		remote, stop, err := NewRemote(bustest.Connect(t, server))
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		w := worker.New(remote, remote, worker.Options{Name: fmt.Sprint(i), Seed: uint64(i), Logger: log})
		sinks = append(sinks, w)
		running.Go(func() { _ = w.Run(ctx) })
	}
	sinks = append(sinks, b)

	var batch feed.Batch
	for i := range 3 {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i)}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("20")}
		batch.Changes = append(batch.Changes, feed.Change{Node: n})
	}
	self := &shape.Identity{Namespace: "default"}
	for i := range 60 {
		pod := &corev1.Pod{}
		pod.Spec.SchedulerName = "default-scheduler"
		batch.Changes = append(batch.Changes, feed.Change{Pod: &shape.Pod{Namespace: "default", Name: fmt.Sprint("p", i), UID: fmt.Sprint("u", i),
			Owner: fmt.Sprint("rs", i%4), Shape: shape.New(pod), Self: self}})
	}
	batch.PodRevision, batch.NodeRevision = 1, 1
	for _, s := range sinks {
		s.Apply(batch)
	}
	select {
	case <-notes.all:
	case <-time.After(20 * time.Second):
		t.Fatalf("only %d of 60 pods were bound: %+v", len(notes.bound), b.Counts())
	}
	on := map[string]int{}
	for _, node := range notes.bound {
		on[node]++
	}
	for node, n := range on {
		if n != 20 {
			t.Errorf("node %s got %d pods, it takes 20", node, n)
		}
	}
}

func TestAWorkerTurnsToTheNewBrokerWhenTheOldOneDied(t *testing.T) {
	server := bustest.Server(t)
	remote, stop, err := NewRemote(bustest.Connect(t, server))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	// The old broker takes the question and never answers.
	old := bustest.Connect(t, server)
	asked := make(chan struct{})
	silent, err := old.Subscribe(proto.SchedulerTakeSubject(), "", func(*bus.Msg) { close(asked) })
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := make(chan *plan.Eval, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		e, _ := remote.Take(ctx, "slot")
		got <- e
	})
	<-asked
	silent.Stop()
	running.Go(func() { _ = ServeBroker(ctx, bustest.Connect(t, server), oneEval{}, zap.NewNop()) })
	if e := <-got; e == nil || e.ID != 7 {
		t.Errorf("got %+v from the new broker", e)
	}
}

type oneEval struct{}

func (oneEval) Offer(give func(*plan.Eval)) func() bool {
	give(&plan.Eval{ID: 7})
	return func() bool { return false }
}

func (oneEval) Return(uint64) {}

func (oneEval) Done(context.Context, plan.Outcome) error { return nil }
