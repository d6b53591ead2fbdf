package storage

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/kubernetes/pkg/apis/core"
)

func TestAssign(t *testing.T) {
	t.Parallel()
	now := metav1.Now()
	in := &api.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"zone": "z"}, Annotations: map[string]string{"by": "me"}}, Target: api.ObjectReference{Name: "n"}}
	for _, c := range []struct {
		name, refusal string
		pod           api.Pod
	}{
		{name: "a pod in deletion is refused", refusal: "pod p is being deleted, cannot be assigned to a host", pod: api.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", DeletionTimestamp: &now}}},
		{name: "a pod with a node is refused", refusal: `pod p is already assigned to node "m"`, pod: api.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: api.PodSpec{NodeName: "m"}}},
		{name: "a gated pod is refused", refusal: "pod p has non-empty .spec.schedulingGates", pod: api.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: api.PodSpec{SchedulingGates: []api.PodSchedulingGate{{Name: "g"}}}}},
		{name: "any other pod gets the node, the labels and the condition", pod: api.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: api.PodStatus{NominatedNodeName: "m"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := assign(&c.pod, in)
			if c.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), c.refusal) {
					t.Errorf("got %v, want %s", err, c.refusal)
				}
				return
			}
			if err != nil || got.Spec.NodeName != "n" || got.Labels["zone"] != "z" || got.Annotations["by"] != "me" || got.Status.NominatedNodeName != "" ||
				len(got.Status.Conditions) != 1 || got.Status.Conditions[0].Type != api.PodScheduled || got.Status.Conditions[0].Status != api.ConditionTrue {
				t.Errorf("got %v, %+v", err, got)
			}
		})
	}
}
