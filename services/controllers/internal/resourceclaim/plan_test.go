package resourceclaim

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func text(s string) *string { return &s }

// newPod asks for one claim "c", by name or by template, and has status as its name.
func newPod(claim, template, status string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "p-1"}}
	asked := corev1.PodResourceClaim{Name: "c"}
	if claim != "" {
		asked.ResourceClaimName = &claim
	}
	if template != "" {
		asked.ResourceClaimTemplateName = &template
	}
	p.Spec.ResourceClaims = []corev1.PodResourceClaim{asked}
	if status != "" {
		p.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "c", ResourceClaimName: text(strings.TrimPrefix(status, "none"))}}
		if status == "none" {
			p.Status.ResourceClaimStatuses[0].ResourceClaimName = nil
		}
	}
	return p
}

func newClaim(name string, owner types.UID, options ...func(*resourcev1.ResourceClaim)) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	if owner != "" {
		yes := true
		c.Annotations = map[string]string{resourcev1.PodResourceClaimAnnotation: "c"}
		c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: owner, Controller: &yes}}
	}
	for _, option := range options {
		option(c)
	}
	return c
}

func allocated(c *resourcev1.ResourceClaim) {
	c.Status.Allocation, c.Finalizers = &resourcev1.AllocationResult{}, []string{"other", resourcev1.Finalizer}
}

func deleted(c *resourcev1.ResourceClaim) {
	at := metav1.NewTime(time.Unix(0, 0))
	c.DeletionTimestamp = &at
}

func reserved(pods ...types.UID) func(*resourcev1.ResourceClaim) {
	return func(c *resourcev1.ResourceClaim) {
		for _, uid := range pods {
			c.Status.ReservedFor = append(c.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: "p", UID: uid})
		}
	}
}

func TestClaimsAreMadeFromTemplates(t *testing.T) {
	t.Parallel()
	template := &resourcev1.ResourceClaimTemplate{Spec: resourcev1.ResourceClaimTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"l": "1"}, Annotations: map[string]string{"a": "1"}},
		Spec:       resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "gpu"}}}},
	}}
	for _, c := range []struct {
		name   string
		pod    *corev1.Pod
		claims []*resourcev1.ResourceClaim
		make   bool
		found  string
		failed string
	}{
		{name: "a claim is made", pod: newPod("", "t", ""), make: true},
		{name: "that is there and named is left alone", pod: newPod("", "t", "p-c-1"), claims: []*resourcev1.ResourceClaim{newClaim("p-c-1", "p-1")}},
		{name: "that is there and not named is named", pod: newPod("", "t", ""), claims: []*resourcev1.ResourceClaim{newClaim("p-c-1", "p-1")}, found: "p-c-1"},
		{name: "one that somebody deleted is made again", pod: newPod("", "t", "p-c-1"), make: true},
		{name: "one of an earlier pod of the name is not taken", pod: newPod("", "t", "p-c-1"), claims: []*resourcev1.ResourceClaim{newClaim("p-c-1", "p-0")}, make: true},
		{name: "one that is not needed is not made", pod: newPod("", "t", "none")},
		{name: "one that the user names is the user's to make", pod: newPod("mine", "", "")},
		{name: "without the template there is none", pod: newPod("", "missing", ""), failed: `resource claim template "missing"`},
		{name: "a claim of neither is an error", pod: newPod("", "", ""), failed: "checking for claim"},
	} {
		plan := planPod(c.pod, func() []*resourcev1.ResourceClaim { return c.claims }, func(name string) *resourcev1.ResourceClaimTemplate {
			if name == "t" {
				return template
			}
			return nil
		})
		if (len(plan.Make) == 1) != c.make || plan.Found["c"] != c.found || (c.failed == "") != (len(plan.Failed) == 0) {
			t.Errorf("%s: got %+v", c.name, plan)
		}
		if c.failed != "" && !strings.HasPrefix(plan.Failed["c"].Error(), c.failed) {
			t.Errorf("%s: got %v, want %s…", c.name, plan.Failed["c"], c.failed)
		}
		if !c.make {
			continue
		}
		made := plan.Make[0].Claim
		if made.GenerateName != "p-c-" || made.Labels["l"] != "1" || made.Annotations["a"] != "1" || made.Annotations[resourcev1.PodResourceClaimAnnotation] != "c" || !metav1.IsControlledBy(made, c.pod) || made.Spec.Devices.Requests[0].Name != "gpu" {
			t.Errorf("%s: made %+v", c.name, made)
		}
	}
	if len(template.Spec.Annotations) != 1 {
		t.Errorf("the template was changed: %v", template.Spec.Annotations)
	}
}

func TestLongNamesAreShortenedAlike(t *testing.T) {
	t.Parallel()
	if got := generateName(strings.Repeat("p", 100), strings.Repeat("c", 50)); len(got) > longest || strings.Count(got, "p") < 35 || strings.Count(got, "c") < 17 {
		t.Errorf("got %s, %d long", got, len(got))
	}
}

func TestAllocatedClaimsAreReservedForPodsOnTheirNode(t *testing.T) {
	t.Parallel()
	bound := func(p *corev1.Pod) *corev1.Pod { p.Spec.NodeName = "n"; return p }
	for _, c := range []struct {
		name   string
		pod    *corev1.Pod
		claim  *resourcev1.ResourceClaim
		want   int
		failed bool
	}{
		{"a pod that is not bound is the scheduler's", newPod("c1", "", ""), newClaim("c1", "", allocated), 0, false},
		{"one that is bound is ours", bound(newPod("c1", "", "")), newClaim("c1", "", allocated, reserved("p-2")), 1, false},
		{"once", bound(newPod("c1", "", "")), newClaim("c1", "", allocated, reserved("p-1")), 0, false},
		{"what is not allocated cannot be reserved", bound(newPod("c1", "", "")), newClaim("c1", ""), 0, false},
		{"a claim made for another pod is not ours", bound(newPod("", "t", "c1")), newClaim("c1", "p-0", allocated), 0, true},
	} {
		got, err := unreserved(c.pod, func(string) *resourcev1.ResourceClaim { return c.claim })
		if len(got) != c.want || (err != nil) != c.failed {
			t.Errorf("%s: got %d, %v", c.name, len(got), err)
		}
	}
}

func TestClaimsThatNobodyUsesAreReleased(t *testing.T) {
	t.Parallel()
	running, ended := newPod("", "t", ""), newPod("", "t", "")
	ended.Status.Phase = corev1.PodSucceeded
	replaced := newPod("", "t", "")
	replaced.UID = "p-9"
	gone := func(r resourcev1.ResourceClaimConsumerReference) bool { return r.UID == "gone" }
	foreign := func(c *resourcev1.ResourceClaim) {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{APIGroup: "example.com", Resource: "things", UID: "gone"})
	}
	for _, c := range []struct {
		name      string
		claim     *resourcev1.ResourceClaim
		owner     *corev1.Pod
		left      int // reservations; -1: the status stays
		allocated bool
		release   bool
		delete    bool
	}{
		{"a used claim stays", newClaim("c1", "", allocated, reserved("here")), nil, -1, true, false, false},
		{"one of two users goes", newClaim("c1", "", allocated, reserved("here", "gone")), nil, 1, true, false, false},
		{"the last one frees the devices", newClaim("c1", "", allocated, reserved("gone")), nil, 0, false, true, false},
		{"users that are no pods stay", newClaim("c1", "", allocated, foreign), nil, -1, true, false, false},
		{"a claim that was never used stays allocated", newClaim("c1", "", allocated), nil, -1, true, false, false},
		{"until it is deleted", newClaim("c1", "", allocated, deleted), nil, 0, false, true, false},
		{"but not while it is used", newClaim("c1", "", allocated, deleted, reserved("here")), nil, -1, true, false, false},
		{"a pod's own claim stays while it may run", newClaim("c1", "p-1"), running, -1, false, false, false},
		{"and goes when it has ended", newClaim("c1", "p-1", allocated, reserved("gone")), ended, 0, false, true, true},
		{"or when another has its name", newClaim("c1", "p-1"), replaced, -1, false, false, true},
		{"what the mirror does not show is the garbage collector's", newClaim("c1", "p-1"), nil, -1, false, false, false},
	} {
		plan := planClaim(c.claim, gone, c.owner)
		left := -1
		if plan.Status != nil {
			left = len(plan.Status.ReservedFor)
			if (plan.Status.Allocation != nil) != c.allocated {
				t.Errorf("%s: allocated %v", c.name, plan.Status.Allocation != nil)
			}
		}
		if left != c.left || plan.Release != c.release || plan.Delete != c.delete {
			t.Errorf("%s: got %d left, %+v", c.name, left, plan)
		}
	}
}
