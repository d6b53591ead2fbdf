package devicetaint

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// view is a made-up sight.
type view struct {
	slices []*slice
	rules  []*rule
	claims []*claim
}

func (v view) Pool(driver, pool string) (all []*slice) {
	for _, s := range v.slices {
		if s.Spec.Driver == driver && s.Spec.Pool.Name == pool {
			all = append(all, s)
		}
	}
	return all
}
func (v view) Rules() []*rule { return v.rules }
func (v view) Claim(_, name string) *claim {
	for _, c := range v.claims {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func newTaint(effect resourcev1.DeviceTaintEffect, added time.Duration) resourcev1.DeviceTaint {
	at := metav1.NewTime(noon.Add(added))
	return resourcev1.DeviceTaint{Key: "k", Value: "v", Effect: effect, TimeAdded: &at}
}

// newSlice has one device "d".
func newSlice(generation int64, taints ...resourcev1.DeviceTaint) *slice {
	return &slice{Spec: resourcev1.ResourceSliceSpec{
		Driver: "driver", Pool: resourcev1.ResourcePool{Name: "pool", Generation: generation},
		Devices: []resourcev1.Device{{Name: "d", Taints: taints}},
	}}
}

func newRule(uid types.UID, effect resourcev1.DeviceTaintEffect, added time.Duration, device string) *rule {
	r := &rule{ObjectMeta: metav1.ObjectMeta{Name: string(uid), UID: uid, Generation: 2}, Spec: resourcev1.DeviceTaintRuleSpec{Taint: newTaint(effect, added)}}
	if device != "" {
		r.Spec.DeviceSelector = &resourcev1.DeviceTaintSelector{Device: &device}
	}
	return r
}

// newClaim has device d and is reserved for the pod.
func newClaim(name string, tolerations ...resourcev1.DeviceToleration) *claim {
	c := &claim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	c.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{
		{Driver: "driver", Pool: "pool", Device: "d", Tolerations: tolerations},
	}}}
	c.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "p", UID: "p-1"}}
	return c
}

func tolerating(effect resourcev1.DeviceTaintEffect, key string, seconds ...int64) resourcev1.DeviceToleration {
	t := resourcev1.DeviceToleration{Key: key, Operator: resourcev1.DeviceTolerationOpExists, Effect: effect}
	if len(seconds) > 0 {
		t.TolerationSeconds = &seconds[0]
	}
	return t
}

func newPod(node string, claims ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "p-1"}, Spec: corev1.PodSpec{NodeName: node}}
	for _, name := range claims {
		p.Spec.ResourceClaims = append(p.Spec.ResourceClaims, corev1.PodResourceClaim{Name: name, ResourceClaimName: &name})
	}
	return p
}

func TestWhenAPodIsToGo(t *testing.T) {
	t.Parallel()
	const evict, schedule = resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule
	unreserved := newClaim("c")
	unreserved.Status.ReservedFor[0].UID = "p-0"
	unallocated := newClaim("c")
	unallocated.Status.Allocation = nil
	for _, c := range []struct {
		name  string
		pod   *corev1.Pod
		in    view
		at    time.Duration // after noon
		rules int
		never bool
	}{
		{name: "no taint, no eviction", pod: newPod("n", "c"), in: view{slices: []*slice{newSlice(1)}, claims: []*claim{newClaim("c")}}, never: true},
		{name: "a driver's taint evicts from when it was put", pod: newPod("n", "c"), in: view{slices: []*slice{newSlice(1, newTaint(evict, time.Second))}, claims: []*claim{newClaim("c")}}, at: time.Second},
		{name: "one against scheduling does not", pod: newPod("n", "c"), in: view{slices: []*slice{newSlice(1, newTaint(schedule, 0))}, claims: []*claim{newClaim("c")}}, never: true},
		{name: "of an older generation of the pool neither", pod: newPod("n", "c"), in: view{slices: []*slice{newSlice(1, newTaint(evict, 0)), newSlice(2)}, claims: []*claim{newClaim("c")}}, never: true},
		{name: "a rule's taint evicts", pod: newPod("n", "c"), in: view{rules: []*rule{newRule("r", evict, 0, "d")}, claims: []*claim{newClaim("c")}}, rules: 1},
		{name: "of other devices it does not", pod: newPod("n", "c"), in: view{rules: []*rule{newRule("r", evict, 0, "e")}, claims: []*claim{newClaim("c")}}, never: true},
		{name: "without a selector neither", pod: newPod("n", "c"), in: view{rules: []*rule{newRule("r", evict, 0, "")}, claims: []*claim{newClaim("c")}}, never: true},
		{name: "nor without effect", pod: newPod("n", "c"), in: view{rules: []*rule{newRule("r", resourcev1.DeviceTaintEffectNone, 0, "d")}, claims: []*claim{newClaim("c")}}, never: true},
		{name: "the first of several counts, with all rules", pod: newPod("n", "b", "c"), in: view{
			slices: []*slice{newSlice(1, newTaint(evict, time.Minute))}, rules: []*rule{newRule("r", evict, time.Second, "d"), newRule("s", evict, time.Hour, "d")}, claims: []*claim{newClaim("b"), newClaim("c")},
		}, at: time.Second, rules: 2},
		{name: "tolerated for ever it stays", pod: newPod("n", "c"), in: view{rules: []*rule{newRule("r", evict, 0, "d")}, claims: []*claim{newClaim("c", tolerating(evict, "k"))}}, never: true},
		{name: "tolerated for a time it goes then", pod: newPod("n", "c"), in: view{rules: []*rule{newRule("r", evict, 0, "d")}, claims: []*claim{newClaim("c", tolerating(evict, "k", 60), tolerating(evict, "", 30))}}, at: 30 * time.Second, rules: 1},
		{name: "a toleration of scheduling is none", pod: newPod("n", "c"), in: view{rules: []*rule{newRule("r", evict, 0, "d")}, claims: []*claim{newClaim("c", tolerating(schedule, "k"), tolerating("", "k"))}}, rules: 1},
		{name: "nor is one of another key", pod: newPod("n", "c"), in: view{rules: []*rule{newRule("r", evict, 0, "d")}, claims: []*claim{newClaim("c", tolerating(evict, "other"))}}, rules: 1},
		{name: "a pod on no node stays", pod: newPod("", "c"), in: view{rules: []*rule{newRule("r", evict, 0, "d")}, claims: []*claim{newClaim("c")}}, never: true},
		{name: "one for whom the claim is not reserved too", pod: newPod("n", "c"), in: view{rules: []*rule{newRule("r", evict, 0, "d")}, claims: []*claim{unreserved}}, never: true},
		{name: "and one whose claim has no devices", pod: newPod("n", "c"), in: view{rules: []*rule{newRule("r", evict, 0, "d")}, claims: []*claim{unallocated}}, never: true},
	} {
		got := evictionOf(c.pod, c.in)
		switch {
		case c.never != (got == nil):
			t.Errorf("%s: got %+v", c.name, got)
		case got != nil && (got.At.Sub(noon) != c.at || len(got.Rules) != c.rules):
			t.Errorf("%s: got %v, %d rules, want %v, %d", c.name, got.At.Sub(noon), len(got.Rules), c.at, c.rules)
		}
	}
}

func TestWhatARuleSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		effect          resourcev1.DeviceTaintEffect
		counts          counts
		status          metav1.ConditionStatus
		reason, message string
	}{
		{resourcev1.DeviceTaintEffectNoExecute, counts{}, metav1.ConditionFalse, "NotStarted", ""},
		{resourcev1.DeviceTaintEffectNoExecute, counts{Pods: 1, Namespaces: 1}, metav1.ConditionTrue, "PodsPendingEviction", "1 pod needs to be evicted in 1 namespace."},
		{resourcev1.DeviceTaintEffectNoExecute, counts{Pods: 3, Namespaces: 2, Evicted: 1}, metav1.ConditionTrue, "PodsPendingEviction", "3 pods need to be evicted in 2 different namespaces. 1 pod evicted since starting the controller."},
		{resourcev1.DeviceTaintEffectNoExecute, counts{Evicted: 2}, metav1.ConditionFalse, "Completed", "2 pods evicted since starting the controller."},
		{resourcev1.DeviceTaintEffectNoSchedule, counts{}, metav1.ConditionFalse, "OtherEffect", "Eviction only happens for the NoExecute effect."},
		{resourcev1.DeviceTaintEffectNone, counts{Pods: 1, Published: 2}, metav1.ConditionFalse, "NoEffect", "2 published devices selected. 0 allocated devices selected. 1 pod would be evicted in 0 different namespaces if the effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to trigger an update."},
	} {
		got := conditionOf(newRule("r", c.effect, 0, "d"), c.counts)
		if got.Status != c.status || got.Reason != c.reason || got.Message != c.message || got.ObservedGeneration != 2 || got.Type != "EvictionInProgress" {
			t.Errorf("%s, %+v:\ngot  %+v\nwant %s, %s, %s", c.effect, c.counts, got, c.status, c.reason, c.message)
		}
	}
}
