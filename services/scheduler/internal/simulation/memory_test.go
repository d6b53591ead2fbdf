package simulation

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/feed"
)

// BenchmarkPicture says what a role's picture of 5,000 nodes and 10,000 bound pods takes
// beside what all roles of a process share (the pods, their shapes and the nodes), in MiB:
// go test -run - -bench Picture -benchtime 1x ./internal/simulation
func BenchmarkPicture(b *testing.B) {
	for range b.N {
		empty := alive()
		s := aShape(100)
		var changes []feed.Change
		for i := range 5000 {
			n := aNode(fmt.Sprint("n", i), 32000)
			changes = append(changes, feed.Change{Node: n, Self: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels}}})
		}
		for i := range 10_000 {
			p := aPod(fmt.Sprint("p", i), fmt.Sprint("set", i/5), s)
			p.NodeName = fmt.Sprint("n", i%5000)
			changes = append(changes, feed.Change{Pod: p})
		}
		shared := alive()
		pictures := make([]*cluster.Mirror, 3)
		for i := range pictures {
			pictures[i] = cluster.New()
			pictures[i].Apply(feed.Batch{Changes: changes})
		}
		b.ReportMetric(shared-empty, "MiB-shared")
		b.ReportMetric((alive()-shared)/float64(len(pictures)), "MiB-each")
		runtime.KeepAlive(pictures)
		runtime.KeepAlive(changes)
	}
}

func alive() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}
