package candidate

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/shape"
)

func aNode(name, zone string, milliCPU int64, tainted bool) feed.Change {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelTopologyZone: zone}}}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: *resource.NewMilliQuantity(milliCPU, resource.DecimalSI), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("50"),
	}
	if tainted {
		n.Spec.Taints = []corev1.Taint{{Key: "t", Effect: corev1.TaintEffectNoSchedule}}
	}
	return feed.Change{Node: n}
}

// self is who all pods of the tests are.
var self = &shape.Identity{Namespace: "default"}

func aShape(milliCPU int64) *shape.Shape {
	p := &corev1.Pod{}
	p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milliCPU, resource.DecimalSI)}}}}
	return shape.New(p)
}

// After any sequence of changes a repaired set holds exactly the nodes that fit,
// its best is as good as a new set's best, and its zones count the owner's pods.
func TestARepairedSetIsAsGoodAsANewOne(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		m := cluster.New()
		s := aShape(300)
		kept := New(m, s, "rs", seed)
		uid := 0
		var bound []*shape.Pod
		for range 300 {
			switch r.IntN(5) {
			case 0:
				m.ApplyOne(aNode(fmt.Sprint("n", r.IntN(15)), fmt.Sprint("z", r.IntN(3)), int64(1000+r.IntN(4)*1000), r.IntN(4) == 0))
			case 1:
				if len(bound) > 0 {
					i := r.IntN(len(bound))
					m.ApplyOne(feed.Change{Pod: bound[i], Gone: true})
					bound = append(bound[:i], bound[i+1:]...)
				}
			case 2:
				if r.IntN(6) == 0 {
					m.ApplyOne(feed.Change{Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", r.IntN(15))}}, Gone: true})
				}
			default:
				i, ok := kept.Best()
				if !ok {
					continue
				}
				uid++
				p := &shape.Pod{Name: fmt.Sprint(uid), UID: fmt.Sprint(uid), Owner: []string{"rs", "other"}[r.IntN(2)], Shape: s, Self: self, NodeName: m.Node(i).Name}
				m.ApplyOne(feed.Change{Pod: p})
				bound = append(bound, p)
			}
			check(t, m, s, kept)
		}
	}
}

func check(t *testing.T, m *cluster.Mirror, s *shape.Shape, kept *Set) {
	t.Helper()
	fresh := New(m, s, "rs", 1)
	got, ok := kept.Best()
	want, wantOK := fresh.Best()
	fits := 0
	for i := range m.Slots() {
		if filter.Node(s, m.Node(int32(i))) == filter.OK {
			fits++
		}
	}
	if ok != wantOK || kept.Len() != fits || fresh.Len() != fits {
		t.Fatalf("kept set: best %v, %d nodes; new set: best %v, %d nodes; %d fit", ok, kept.Len(), wantOK, fresh.Len(), fits)
	}
	if !ok {
		return
	}
	value := func(set *Set, i int32) int64 { // without the random part
		p := set.nodes[i]
		return set.zones[p.zone].heap[p.at].score >> jitterBits
	}
	zonePods := map[string]int64{}
	for _, z := range fresh.zones {
		zonePods[z.name] = z.pods
	}
	for _, z := range kept.zones {
		if z.pods != zonePods[z.name] {
			t.Fatalf("zone %q counts %d pods, want %d", z.name, z.pods, zonePods[z.name])
		}
	}
	if m.Node(got).Class.Zone == m.Node(want).Class.Zone && value(kept, got) != value(fresh, want) {
		t.Fatalf("kept set's best scores %d, new set's %d", value(kept, got), value(fresh, want))
	}
}
