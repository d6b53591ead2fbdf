package api

import (
	"encoding/json"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto/statelog"
	"kubus.dev/services/scheduler/internal/planner"
	"kubus.dev/services/scheduler/internal/shape"
)

func TestVerdict(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	conflict := func(text string) error { return apierrors.NewConflict(pods, "p", errors.New(text)) }
	tests := []struct {
		name string
		err  error
		want planner.Outcome
	}{
		{"success", nil, planner.Bound},
		{"bound to our node by an earlier try", conflict(`pod p is already assigned to node "n1"`), planner.Bound},
		{"bound to another node", conflict(`pod p is already assigned to node "n2"`), planner.Gone},
		{"being deleted", conflict("pod p is being deleted, cannot be assigned to a host"), planner.Gone},
		{"another pod of that name", conflict("Precondition failed: UID in precondition: a, UID in object meta: b"), planner.Gone},
		{"no such pod", apierrors.NewNotFound(pods, "p"), planner.Gone},
		{"written to meanwhile", conflict("the object has been modified; please apply your changes to the latest version and try again"), planner.Unknown},
		{"a newer planner", conflict(statelog.ErrFenced.Error()), planner.Refused},
		{"gated", conflict("pod p has non-empty .spec.schedulingGates"), planner.Refused},
		{"a webhook says no", apierrors.NewForbidden(pods, "p", errors.New("no")), planner.Refused},
		{"the gateway is overloaded", apierrors.NewTooManyRequests("later", 1), planner.Unknown},
		{"no answer in time", apierrors.NewTimeoutError("late", 1), planner.Unknown},
		{"the store is away", apierrors.NewServiceUnavailable("store"), planner.Unknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := verdict(tt.err, "n1"); got.Outcome != tt.want {
				t.Errorf("verdict(%v) = %v, want %v", tt.err, got.Outcome, tt.want)
			}
		})
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
