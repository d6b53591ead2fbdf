package scheduler

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto"
)

func raw(t *testing.T, o any) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func pod(name, cpu string, priority int32) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)}}
	p.Spec.SchedulerName, p.Spec.Priority = "default-scheduler", &priority
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}
	return p
}

func TestWhatIfTellsWherePodsWouldGoAndWhyNot(t *testing.T) {
	w := World{}
	for i := range 2 {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i)}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("10")}
		w[proto.GroupResource{Resource: "nodes"}] = append(w[proto.GroupResource{Resource: "nodes"}], raw(t, n))
	}
	there := pod("there", "2", 0)
	there.Spec.NodeName = "n0"
	w[podResource] = append(w[podResource], raw(t, there))

	foreign, gated := pod("foreign", "1", 0), pod("gated", "1", 0)
	foreign.Spec.SchedulerName = "other"
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "wait"}}
	pods := []*corev1.Pod{pod("a", "1", 0), pod("b", "1", 0), pod("c", "1", 0), foreign, gated, pod("big", "2", 100)}
	fates, err := WhatIf(t.Context(), Default(), w, pods)
	if err != nil {
		t.Fatal(err)
	}
	// The important one comes first and has the free node to itself.
	for i, want := range []Fate{
		{UID: "a", Message: "0/2 nodes are available: 2 Insufficient cpu."}, {UID: "b", Message: "0/2 nodes are available: 2 Insufficient cpu."},
		{UID: "c", Message: "0/2 nodes are available: 2 Insufficient cpu."}, {UID: "foreign", Message: `no profile is called "other"`},
		{UID: "gated", Message: "Scheduling is blocked"}, {UID: "big", Node: "n1"},
	} {
		got := fates[i]
		if got.UID != want.UID || got.Node != want.Node || !strings.HasPrefix(got.Message, want.Message) {
			t.Errorf("%s: got %+v, want %+v", pods[i].Name, got, want)
		}
	}

	fates, err = WhatIf(t.Context(), Default(), w, []*corev1.Pod{pod("x", "2", 0), pod("y", "2", 5)})
	if err != nil {
		t.Fatal(err)
	}
	if x, y := fates[0], fates[1]; y.Node != "n1" || x.Node != "" {
		t.Errorf("x %+v, y %+v", x, y)
	}
	fates, err = WhatIf(t.Context(), Default(), w, []*corev1.Pod{pod("x", "2", 7), pod("y", "2", 5)})
	if err != nil {
		t.Fatal(err)
	}
	if y := fates[1]; y.Node != "n0" || len(y.Victims) != 1 || y.Victims[0] != "ns/there" {
		t.Errorf("y %+v, is to take the place of ns/there", y)
	}
}
