package simulation

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/shape"
)

// BenchmarkCore is the "core" mode of docs: broker, worker and planner with a log
// in memory and no I/O. One operation is one pod, created to bound, and includes
// the three mirrors that follow the log.
func BenchmarkCore(b *testing.B) {
	for _, c := range []struct {
		name         string
		nodes, group int
	}{
		{"100 nodes, groups of 2000", 100, 2000},
		{"5000 nodes, groups of 1000", 5000, 1000},
		{"5000 nodes, groups of 10", 5000, 10},
		{"5000 nodes, single pods", 5000, 1},
	} {
		b.Run(c.name, func(b *testing.B) { core(b, c.nodes, c.group) })
	}
}

func core(b *testing.B, nodes, size int) {
	w := newWorld(b, 1)
	var changes []feed.Change
	for i := range nodes {
		changes = append(changes, feed.Change{Node: aNode(fmt.Sprintf("n%d", i), 1<<40, func(n *corev1.Node) {
			n.Status.Allocatable[corev1.ResourcePods] = *n.Status.Allocatable.Memory()
		})})
	}
	w.change(changes...)
	s := aShape(100)
	pods := make([]*shape.Pod, b.N)
	for i := range pods {
		owner := fmt.Sprintf("rs%d", i/size)
		if size == 1 {
			owner = ""
		}
		pods[i] = aPod(fmt.Sprintf("p%d", i), owner, s)
	}
	b.ResetTimer()
	began := time.Now()
	for len(pods) > 0 {
		n := min(1000, len(pods))
		changes = changes[:0]
		for _, p := range pods[:n] {
			changes = append(changes, feed.Change{Pod: p})
		}
		pods = pods[n:]
		w.change(append([]feed.Change(nil), changes...)...)
		for w.broker.Counts().Waiting > 5000 {
			time.Sleep(50 * time.Microsecond)
		}
	}
	for w.broker.Counts().Waiting > 0 || w.planner.Busy() {
		time.Sleep(50 * time.Microsecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "pods/s")
	if w.bound != b.N {
		b.Errorf("bound %d of %d", w.bound, b.N)
	}
}

// BenchmarkDaemons is DaemonSets on 5,000 nodes, one after the other, where each bulk of
// bindings takes 5 ms as on a disk. Reading the pods from the log is part of it.
func BenchmarkDaemons(b *testing.B) {
	const nodes = 5000
	w := newWorld(b, 1)
	w.latency = func() time.Duration { return 5 * time.Millisecond }
	table := shape.NewTable()
	var changes []feed.Change
	for i := range nodes {
		changes = append(changes, feed.Change{Node: aNode(fmt.Sprintf("n%d", i), 1<<40, func(n *corev1.Node) {
			n.Status.Allocatable[corev1.ResourcePods] = *n.Status.Allocatable.Memory()
		})})
	}
	w.change(changes...)
	b.ResetTimer()
	began := time.Now()
	for i := 0; i < b.N; {
		changes = nil
		for ; i < b.N && len(changes) < 500; i++ {
			changes = append(changes, feed.Change{Pod: aDaemon(b, table, fmt.Sprint("p", i), fmt.Sprint("set", i/nodes), fmt.Sprint("n", i%nodes), 100)})
		}
		w.change(changes...)
		for w.broker.Counts().Waiting > 5000 {
			time.Sleep(50 * time.Microsecond)
		}
	}
	for w.broker.Counts().Waiting > 0 || w.planner.Busy() {
		time.Sleep(50 * time.Microsecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "pods/s")
	if w.bound != b.N {
		b.Errorf("bound %d of %d", w.bound, b.N)
	}
}

// BenchmarkRules is the core mode for pods that have to do with each other, on 1,000 nodes
// of three zones.
func BenchmarkRules(b *testing.B) {
	for _, c := range []struct {
		name  string
		group int
		rule  func(app string) func(*corev1.Pod)
	}{
		{"anti-affinity by host", 500, func(app string) func(*corev1.Pod) { return apart(app, corev1.LabelHostname) }},
		{"hard spread by zone", 500, func(app string) func(*corev1.Pod) {
			return spread(app, corev1.LabelTopologyZone, 1, corev1.DoNotSchedule)
		}},
		{"affinity by zone", 500, func(app string) func(*corev1.Pod) { return together(app, corev1.LabelTopologyZone) }},
		{"soft spread by zone", 500, func(app string) func(*corev1.Pod) {
			return spread(app, corev1.LabelTopologyZone, 1, corev1.ScheduleAnyway)
		}},
	} {
		b.Run(c.name, func(b *testing.B) { rules(b, c.group, c.rule) })
	}
}

func rules(b *testing.B, size int, rule func(app string) func(*corev1.Pod)) {
	w := newWorld(b, 1)
	var changes []feed.Change
	for i := range 1000 {
		changes = append(changes, feed.Change{Node: aNode(fmt.Sprintf("n%d", i), 1<<40, inZone(fmt.Sprint("z", i%3)), func(n *corev1.Node) {
			n.Status.Allocatable[corev1.ResourcePods] = *n.Status.Allocatable.Memory()
		})})
	}
	w.change(changes...)
	b.ResetTimer()
	began := time.Now()
	for placed := 0; placed < b.N; placed += size {
		app := fmt.Sprint("app", placed)
		w.change(aKind(app, 100, rule(app)).pods(min(size, b.N-placed), app)...)
		for w.broker.Counts().Waiting > 5000 {
			time.Sleep(50 * time.Microsecond)
		}
	}
	for w.broker.Counts().Waiting > 0 || w.planner.Busy() {
		time.Sleep(50 * time.Microsecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "pods/s")
	if w.bound != b.N {
		b.Errorf("bound %d of %d", w.bound, b.N)
	}
}
