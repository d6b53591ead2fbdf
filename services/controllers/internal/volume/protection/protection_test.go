package protection

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	rule "kubus.dev/proto/volume"
)

func claim(change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p-data", UID: "c", Finalizers: []string{rule.ClaimProtection}}}
	c.Status.Phase = corev1.ClaimBound
	for _, f := range change {
		f(c)
	}
	return c
}

func deleted(c *corev1.PersistentVolumeClaim)    { c.DeletionTimestamp = &metav1.Time{} }
func unfinished(c *corev1.PersistentVolumeClaim) { c.Finalizers = nil }
func ownedByPod(c *corev1.PersistentVolumeClaim) {
	yes := true
	c.OwnerReferences = []metav1.OwnerReference{{Kind: "Pod", UID: "p", Controller: &yes}}
}

func TestFinalizers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		used  bool
		want  change
	}{
		"present":                      {claim(), false, stay},
		"without one":                  {claim(unfinished), false, set},
		"deleted and used":             {claim(deleted), true, stay},
		"deleted and used no more":     {claim(deleted), false, unset},
		"deleted, and released before": {claim(deleted, unfinished), false, stay},
	} {
		if got := finalize(tt.claim, rule.ClaimProtection, tt.used); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	c := claim(func(c *corev1.PersistentVolumeClaim) { c.Finalizers = []string{"a", rule.ClaimProtection, "b"} })
	with(c, rule.ClaimProtection, unset)
	if len(c.Finalizers) != 2 || c.Finalizers[0] != "a" || c.Finalizers[1] != "b" {
		t.Errorf("others' finalizers: %v", c.Finalizers)
	}
}

func TestWhoHoldsAClaim(t *testing.T) {
	t.Parallel()
	pod := func(node string, ephemeral bool, phase corev1.PodPhase, shutDown bool) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "p"}}
		p.Spec.NodeName, p.Status.Phase = node, phase
		v := corev1.Volume{Name: "data"}
		if ephemeral {
			v.Ephemeral = &corev1.EphemeralVolumeSource{}
		} else {
			v.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "p-data"}
		}
		p.Spec.Volumes = []corev1.Volume{v}
		if shutDown {
			none := int64(0)
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{}, &none
		}
		return p
	}
	for name, tt := range map[string]struct {
		pod         *corev1.Pod
		claim       *corev1.PersistentVolumeClaim
		holds, uses bool
	}{
		"a pod that runs":                          {pod("n", false, corev1.PodRunning, false), claim(), true, true},
		"one without a node is not started":        {pod("", false, corev1.PodPending, false), claim(), false, true},
		"one that is done still has it mounted":    {pod("n", false, corev1.PodSucceeded, false), claim(), true, false},
		"an ephemeral volume":                      {pod("n", true, corev1.PodRunning, false), claim(ownedByPod), true, true},
		"an ephemeral volume of a pod that is off": {pod("n", true, corev1.PodRunning, true), claim(ownedByPod), false, true},
		"a claim that only bears the name":         {pod("n", true, corev1.PodRunning, false), claim(), false, false},
	} {
		if got := holds(tt.pod, tt.claim); got != tt.holds {
			t.Errorf("%s: holds %v", name, got)
		}
		if got := refersTo(tt.pod, tt.claim); got != tt.uses {
			t.Errorf("%s: uses %v", name, got)
		}
	}
}

func TestTheConditionUnused(t *testing.T) {
	t.Parallel()
	says := func(status corev1.ConditionStatus) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) {
			c.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimUnused, Status: status}}
		}
	}
	for name, tt := range map[string]struct {
		claim  *corev1.PersistentVolumeClaim
		used   bool
		reason string
	}{
		"new and used":          {claim(), true, "PodUsingPVC"},
		"new and not used":      {claim(), false, "NoPodsUsingPVC"},
		"used, and says so":     {claim(says(corev1.ConditionFalse)), true, ""},
		"used no more":          {claim(says(corev1.ConditionFalse)), false, "NoPodsUsingPVC"},
		"used again":            {claim(says(corev1.ConditionTrue)), true, "PodUsingPVC"},
		"being deleted":         {claim(deleted), false, ""},
		"not bound, so nothing": {claim(func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimPending }), false, ""},
	} {
		got := ""
		if c := unused(tt.claim, tt.used, metav1.Now()); c != nil {
			got = c.Reason
		}
		if got != tt.reason {
			t.Errorf("%s: %q, want %q", name, got, tt.reason)
		}
	}
}
