package ephemeral

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	rule "kubus.dev/proto/volume"
)

func TestTheClaimIsThePodsOwn(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"}}
	v := &corev1.Volume{Name: "scratch"}
	v.Ephemeral = &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}},
		Spec:       corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}},
	}}
	claim := claimOf(pod, v)
	if claim.Namespace != "ns" || claim.Name != "web-scratch" || claim.Labels["a"] != "b" || claim.Annotations["c"] != "d" || len(claim.Spec.AccessModes) != 1 {
		t.Errorf("%+v", claim)
	}
	if err := rule.MadeFor(pod, claim); err != nil {
		t.Error(err)
	}
	pod.UID = "another"
	if err := rule.MadeFor(pod, claim); err == nil {
		t.Error("a later pod of that name takes it for its own")
	}
}
