package intake

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestANodeGivesItselfNoLabelThatRestrictsNodes(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]bool{
		"plain": true, "example.com/x": true, "kubernetes.io/hostname": true, "beta.kubernetes.io/arch": true, "topology.kubernetes.io/zone": true,
		"node.kubernetes.io/x": true, "a.node.kubernetes.io/x": true, "kubelet.kubernetes.io/x": true, "notkubernetes.io/x": true,
		"node-restriction.kubernetes.io/x": false, "a.node-restriction.kubernetes.io/x": false, "node-role.kubernetes.io/control-plane": false,
		"kubernetes.io/x": false, "x.k8s.io/y": false, "k8s.io/y": false, "topology.kubernetes.io/x": false,
	} {
		if got := ownLabel(key); got != want {
			t.Errorf("%s: got %v", key, got)
		}
	}
}

func TestANodeRegistersWithoutOwnersFinalizersAndForeignLabels(t *testing.T) {
	t.Parallel()
	reported := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "n", UID: "u", ResourceVersion: "7", Labels: map[string]string{"a": "b", "node-restriction.kubernetes.io/x": "1"}, Annotations: map[string]string{"c": "d"},
		OwnerReferences: []metav1.OwnerReference{{Kind: "Pod", Name: "p"}}, Finalizers: []string{"x/y"},
	}, Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "t"}}}}
	got := newNode(reported)
	if len(got.Labels) != 1 || got.Annotations["c"] != "d" || len(got.OwnerReferences)+len(got.Finalizers) > 0 || got.UID != "" || got.ResourceVersion != "" || len(got.Spec.Taints) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestAReportChangesOfANodesLabelsOnlyItsOwn(t *testing.T) {
	t.Parallel()
	present := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"node-role.kubernetes.io/x": ""}}}
	reported := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{
		"a": "b", "node-role.kubernetes.io/x": "1", "node-restriction.kubernetes.io/x": "1",
	}}}
	requests, err := nodeUpdates(present, reported, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range requests {
		if r.Method != "PATCH" {
			continue
		}
		var body corev1.Node
		if err := json.Unmarshal(r.Body, &body); err != nil || len(body.Labels) != 1 || body.Labels["a"] != "b" {
			t.Errorf("got %s, %v", r.Body, err)
		}
		return
	}
	t.Errorf("no patch in %d requests", len(requests))
}

func TestAClaimsStatusIsNotTheAgentsToWrite(t *testing.T) {
	t.Parallel()
	name := "mine"
	present := corev1.PodStatus{Phase: corev1.PodRunning}
	next, _ := mergePod(present, corev1.PodStatus{Phase: corev1.PodRunning, ResourceClaimStatuses: []corev1.PodResourceClaimStatus{{Name: "c", ResourceClaimName: &name}}})
	if len(next.ResourceClaimStatuses) != 0 {
		t.Errorf("got %+v", next.ResourceClaimStatuses)
	}
}
