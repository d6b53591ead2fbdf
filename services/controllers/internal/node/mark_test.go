package node

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// What the mirror leaves out of pods must not be lost when one of them is marked.
func TestAMarkedPodKeepsItsStatus(t *testing.T) {
	t.Parallel()
	whole := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u", ResourceVersion: "7"}, Status: corev1.PodStatus{
		Phase: corev1.PodRunning,
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue},
		},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "c", ContainerID: "runc://1", ImageID: "sha256:1"}},
	}}
	known := whole.DeepCopy()
	known.Status.ContainerStatuses[0].ContainerID, known.Status.ContainerStatuses[0].ImageID = "", ""
	before, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal(notReady(known, metav1.NewTime(now)))
	if err != nil {
		t.Fatal(err)
	}
	after, err := strategicpatch.StrategicMergePatch(before, patch, corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	var got corev1.Pod
	if err := json.Unmarshal(after, &got); err != nil {
		t.Fatal(err)
	}
	if s := got.Status.ContainerStatuses; len(s) != 1 || s[0].ContainerID != "runc://1" || s[0].ImageID != "sha256:1" {
		t.Errorf("containers: got %+v", s)
	}
	for _, c := range got.Status.Conditions {
		if want := corev1.ConditionTrue; c.Type == corev1.PodScheduled && c.Status != want {
			t.Errorf("%s is %s", c.Type, c.Status)
		}
		if c.Type == corev1.PodReady && (c.Status != corev1.ConditionFalse || c.ObservedGeneration != 0 || !c.LastTransitionTime.Equal(&metav1.Time{Time: now})) {
			t.Errorf("got %+v", c)
		}
	}
	if got.UID != "u" || got.ResourceVersion != "7" || len(got.Status.Conditions) != 2 {
		t.Errorf("got %+v", got)
	}
}
