package intake

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func at(ago time.Duration) metav1.Time { return metav1.NewTime(now.Add(-ago)) }

func TestWhatTheAgentDoesNotOwnStaysInAPodsStatus(t *testing.T) {
	t.Parallel()
	present := corev1.PodStatus{
		Phase: corev1.PodPending, QOSClass: corev1.PodQOSBurstable, NominatedNodeName: "n",
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: at(time.Hour)},
			{Type: "example.com/gate", Status: corev1.ConditionTrue},
			{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: at(time.Hour)},
		},
	}
	reported := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: at(0), ObservedGeneration: 2},
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: at(0)},
		{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: at(0)},
	}}
	next, changed := mergePod(present, reported)
	if !changed || next.Phase != corev1.PodRunning || next.QOSClass != corev1.PodQOSBurstable || next.NominatedNodeName != "n" || len(next.Conditions) != 4 {
		t.Fatalf("got %+v", next)
	}
	if next.Conditions[0].LastTransitionTime != at(time.Hour) || next.Conditions[2].LastTransitionTime != at(0) {
		t.Errorf("times of transition: %+v", next.Conditions)
	}
	if next.Conditions[0].ObservedGeneration != 2 {
		t.Errorf("the node has seen generation 2: %+v", next.Conditions[0])
	}
	if _, changed := mergePod(next, reported); changed {
		t.Error("the same report again counts as a change")
	}
}

func TestConditionsOfAResizeGoWithIt(t *testing.T) {
	t.Parallel()
	present := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
		{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: "Deferred", LastTransitionTime: at(time.Hour)},
		{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue, LastTransitionTime: at(time.Hour)},
		{Type: "example.com/gate", Status: corev1.ConditionTrue},
	}}
	failed := corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue, Reason: "Error", LastTransitionTime: at(0)}
	next, _ := mergePod(present, corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{failed}})
	if len(next.Conditions) != 2 || next.Conditions[0] != failed {
		t.Errorf("the last word is %+v; got %+v", failed, next.Conditions)
	}
	if next, _ = mergePod(next, corev1.PodStatus{Phase: corev1.PodRunning}); len(next.Conditions) != 1 || next.Conditions[0].Type != "example.com/gate" {
		t.Errorf("it is over; got %+v", next.Conditions)
	}
}

func TestAFinishedPodNeverRunsAgain(t *testing.T) {
	t.Parallel()
	present := corev1.PodStatus{Phase: corev1.PodSucceeded}
	if next, changed := mergePod(present, corev1.PodStatus{Phase: corev1.PodRunning}); changed || next.Phase != corev1.PodSucceeded {
		t.Errorf("got %v, changed %v", next.Phase, changed)
	}
}

func TestWhatTheAgentDoesNotOwnStaysInANodesStatus(t *testing.T) {
	t.Parallel()
	present := corev1.NodeStatus{
		Capacity:   corev1.ResourceList{"cpu": resource.MustParse("2"), "example.com/gpu": resource.MustParse("1")},
		Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeExternalIP, Address: "192.0.2.1"}},
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", LastTransitionTime: at(time.Hour)}, {Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse}},
	}
	reported := corev1.NodeStatus{
		Capacity:   corev1.ResourceList{"cpu": resource.MustParse("4")},
		Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.2"}},
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}},
	}
	next, changed := mergeNode(present, reported, now)
	cpu := next.Capacity["cpu"]
	if _, gpu := next.Capacity["example.com/gpu"]; !changed || !gpu || cpu.Value() != 4 || len(next.Addresses) != 2 || next.Addresses[0].Address != "10.0.0.2" || len(next.Conditions) != 2 {
		t.Fatalf("got %+v", next)
	}
	if c := next.Conditions[0]; c.Status != corev1.ConditionTrue || c.LastTransitionTime != metav1.NewTime(now) || c.LastHeartbeatTime != metav1.NewTime(now) {
		t.Errorf("ready: %+v", c)
	}
	if _, changed := mergeNode(next, reported, now.Add(time.Minute)); changed {
		t.Error("a later heartbeat alone counts as a change")
	}
}

func TestNodeUpdates(t *testing.T) {
	t.Parallel()
	present := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"mine": "x", "kubernetes.io/os": "linux"}}}
	reported := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"kubernetes.io/os": "linux"}}}
	if requests, err := nodeUpdates(present, reported, now); err != nil || len(requests) != 0 {
		t.Errorf("nothing differs: %v, %v", requests, err)
	}
	reported.Labels["kubernetes.io/arch"] = "amd64"
	requests, err := nodeUpdates(present, reported, now)
	if err != nil || len(requests) != 1 || requests[0].Method != "PATCH" || string(requests[0].Body) != `{"metadata":{"labels":{"kubernetes.io/arch":"amd64"}}}` {
		t.Errorf("a label: %+v, %v", requests, err)
	}
}
