package simulation

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/shape"
)

// aDaemon is the pod of a DaemonSet for a node, as it stands in the log.
func aDaemon(t testing.TB, table *shape.Table, name, set, node string, milliCPU int64) *shape.Pod {
	t.Helper()
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), OwnerReferences: []metav1.OwnerReference{{Kind: "DaemonSet", UID: types.UID(set), Controller: &yes}}}}
	p.Spec.SchedulerName = "default-scheduler"
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milliCPU, resource.DecimalSI)}}}}
	p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}}}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	pod, err := table.Parse(data, 1)
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func TestThePodsOfADaemonSetAreBoundTogetherEachOnItsNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		table := shape.NewTable()
		const nodes = 200
		var changes []feed.Change
		for i := range nodes {
			milliCPU := int64(1000)
			if i%10 == 0 {
				milliCPU = 50
			}
			changes = append(changes, feed.Change{Node: aNode(fmt.Sprint("n", i), milliCPU)})
		}
		w.change(changes...)
		changes = nil
		for i := range nodes {
			changes = append(changes, feed.Change{Pod: aDaemon(t, table, fmt.Sprint("p", i), "set", fmt.Sprint("n", i), 100)})
		}
		changes = append(changes, feed.Change{Pod: aDaemon(t, table, "lost", "set", "nowhere", 100)})
		w.change(changes...)
		w.settle()
		if w.bulks > 3 {
			t.Errorf("%d pods of one set took %d bulk requests", nodes, w.bulks)
		}
		for i := range nodes {
			p := w.pods[fmt.Sprint("uid-p", i)]
			switch {
			case i%10 != 0 && p.NodeName != fmt.Sprint("n", i):
				t.Errorf("%s is on %q, told %q", p, p.NodeName, w.told[p.UID])
			case i%10 == 0:
				want := "0/200 nodes are available: 1 Insufficient cpu, 199 node(s) didn't satisfy plugin(s) [NodeAffinity]. preemption: 0/200 nodes are available: 200 Preemption is not helpful for scheduling."
				if p.NodeName != "" || w.told[p.UID] != want {
					t.Errorf("%s is on %q, told\n     %q\nwant %q", p, p.NodeName, w.told[p.UID], want)
				}
			}
		}
		if p := w.pods["uid-lost"]; p.NodeName != "" || w.told[p.UID] == "" {
			t.Errorf("a pod for a node that is not there is on %q, told %q", p.NodeName, w.told[p.UID])
		}
		asked := w.asked.Load()
		w.change(feed.Change{Node: aNode("n10", 1000)}, feed.Change{Node: aNode("nowhere", 1000)})
		w.settle()
		for _, uid := range []string{"uid-p10", "uid-lost"} {
			if w.pods[uid].NodeName == "" {
				t.Errorf("%s still waits though there is room on its node", uid)
			}
		}
		if n := w.asked.Load() - asked; n != 2 {
			t.Errorf("%d pods were looked at again, want the two whose nodes have room", n)
		}
	})
}
