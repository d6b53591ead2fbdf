package expand

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	rule "kubus.dev/proto/volume"
)

func pair(wished, has, volume string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data", UID: "c"}}
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(wished)}
	claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(has)}
	claim.Status.Phase = corev1.ClaimBound
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{rule.ProvisionedBy: rule.LocalProvisioner}}}
	pv.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(volume)}
	pv.Spec.Local = &corev1.LocalVolumeSource{Path: "/x"}
	pv.Spec.ClaimRef = rule.Reference(claim)
	return claim, pv
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		wished, has, volume string
		change              func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume)
		want                step
	}{
		"as it is":                    {"1Gi", "1Gi", "1Gi", nil, nothing},
		"wishes for more":             {"2Gi", "1Gi", "1Gi", nil, ask},
		"the volume has grown":        {"2Gi", "1Gi", "2Gi", nil, tell},
		"has more than it wishes for": {"1Gi", "2Gi", "2Gi", nil, nothing},
		"not bound": {"2Gi", "1Gi", "1Gi", func(c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
			c.Status.Phase = corev1.ClaimPending
		}, nothing},
		"the volume is another's":         {"2Gi", "1Gi", "1Gi", func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = "x" }, nothing},
		"the volume is of another's make": {"2Gi", "1Gi", "1Gi", func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) { v.Annotations = nil }, leave},
	} {
		claim, pv := pair(tt.wished, tt.has, tt.volume)
		if tt.change != nil {
			tt.change(claim, pv)
		}
		if got := plan(claim, pv); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestWhatTheStatusSays(t *testing.T) {
	t.Parallel()
	claim, _ := pair("2Gi", "1Gi", "1Gi")
	claim.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimUnused, Status: corev1.ConditionFalse}}
	before := metav1.Now()
	claim.Status = stuck(claim, "no room", before)
	c := claim.Status.Conditions
	if len(c) != 2 || c[1].Type != corev1.PersistentVolumeClaimControllerResizeError || c[1].Message != "no room" ||
		claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage] != corev1.PersistentVolumeClaimControllerResizeInfeasible {
		t.Errorf("refused: %+v", claim.Status)
	}
	if again := stuck(claim, "no room", metav1.NewTime(before.Add(1e9))); !again.Conditions[1].LastTransitionTime.Equal(&before) {
		t.Error("refused again: the time of the condition moved")
	}
	next := grown(claim, resource.MustParse("2Gi"))
	if len(next.Conditions) != 1 || len(next.AllocatedResourceStatuses) != 0 || next.Capacity.Storage().String() != "2Gi" {
		t.Errorf("grown: %+v", next)
	}
}
