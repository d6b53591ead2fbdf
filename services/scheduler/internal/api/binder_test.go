package api

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/services/scheduler/internal/planner"
	"kubus.dev/services/scheduler/internal/shape"
)

func TestVerdict(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	tests := []struct {
		name string
		err  error
		want planner.Outcome
	}{
		{"success", nil, planner.Bound},
		{"no such pod", apierrors.NewNotFound(pods, "p"), planner.Gone},
		{"something stands against it", apierrors.NewConflict(pods, "p", errors.New("whatever it says")), planner.Unknown},
		{"a webhook says no", apierrors.NewForbidden(pods, "p", errors.New("no")), planner.Refused},
		{"a webhook breaks", apierrors.NewInternalError(errors.New("webhook")), planner.Unknown},
		{"the gateway is overloaded", apierrors.NewTooManyRequests("later", 1), planner.Refused},
		{"no answer in time", apierrors.NewTimeoutError("late", 1), planner.Unknown},
		{"the store is away", apierrors.NewServiceUnavailable("store"), planner.Unknown},
		{"no Status at all", errors.New("broken pipe"), planner.Unknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := verdict(tt.err); got.Outcome != tt.want {
				t.Errorf("verdict(%v) = %v, want %v", tt.err, got.Outcome, tt.want)
			}
		})
	}
}

func TestAConflictIsReadFromThePod(t *testing.T) {
	now := metav1.Now()
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}}
		change(p)
		return p
	}
	tests := []struct {
		name string
		pod  *corev1.Pod
		want planner.Outcome
	}{
		{"bound to our node by an earlier try", pod(func(p *corev1.Pod) { p.Spec.NodeName = "n1" }), planner.Bound},
		{"bound to our node and being deleted by now", pod(func(p *corev1.Pod) { p.Spec.NodeName = "n1"; p.DeletionTimestamp = &now }), planner.Bound},
		{"bound to another node", pod(func(p *corev1.Pod) { p.Spec.NodeName = "n2" }), planner.Gone},
		{"being deleted", pod(func(p *corev1.Pod) { p.DeletionTimestamp = &now }), planner.Gone},
		{"another pod of that name", pod(func(p *corev1.Pod) { p.UID = "v" }), planner.Gone},
		{"gated", pod(func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} }), planner.Refused},
		{"written to meanwhile", pod(func(*corev1.Pod) {}), planner.Unknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := standing(tt.pod, "u", "n1", errors.New("conflict")); got.Outcome != tt.want {
				t.Errorf("got %v, want %v", got.Outcome, tt.want)
			}
		})
	}
}

func TestS7PreemptionTellsBeforeItDeletes(t *testing.T) {
	by := &shape.Pod{Namespace: "ns", Name: "big", UID: "b", Shape: &shape.Shape{SchedulerName: "default-scheduler"}}
	victim := &shape.Pod{Namespace: "ns", Name: "small", UID: "s", Generation: 3}
	lower := &shape.Pod{Namespace: "ns", Name: "hopes", UID: "h"}
	var tell, remove tasks
	p := planner.Preemption{Pod: by, Node: "n1", Victims: []*shape.Pod{victim}, Displace: []*shape.Pod{lower}}
	if err := errors.Join(tell.announce(0, &p, time.Unix(1700000000, 0)), remove.remove(0, victim)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range append(tell.requests, remove.requests...) {
		got = append(got, r.Method+" "+r.Path+" "+string(r.Body))
	}
	want := []string{
		`PATCH /api/v1/namespaces/ns/pods/big/status {"metadata":{"uid":"b"},"status":{"nominatedNodeName":"n1"}}`,
		`PATCH /api/v1/namespaces/ns/pods/hopes/status {"metadata":{"uid":"h"},"status":{"nominatedNodeName":null}}`,
		`PATCH /api/v1/namespaces/ns/pods/small/status {"metadata":{"uid":"s"},"status":{"conditions":[{"type":"DisruptionTarget","observedGeneration":3,"status":"True","lastProbeTime":null,"lastTransitionTime":"2023-11-14T22:13:20Z","reason":"PreemptionByScheduler","message":"default-scheduler: preempting to accommodate a higher priority pod"}]}}`,
		`DELETE /api/v1/namespaces/ns/pods/small {"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"s"}}`,
	}
	if len(got) != len(want) {
		t.Fatalf("%d requests: %q", len(got), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

func TestBindingRequest(t *testing.T) {
	r := bindingRequest(&planner.Binding{Pod: &shape.Pod{Namespace: "ns", Name: "p", UID: "u"}, Node: "n1"})
	var b corev1.Binding
	if err := json.Unmarshal(r.Body, &b); err != nil {
		t.Fatal(err)
	}
	if r.Path != "/api/v1/namespaces/ns/pods/p/binding" || b.Name != "p" || b.Namespace != "ns" || b.UID != "u" || b.Target.Name != "n1" || b.Target.Kind != "Node" {
		t.Errorf("%s %s", r.Path, r.Body)
	}
}
