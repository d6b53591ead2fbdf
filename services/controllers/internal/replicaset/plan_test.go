package replicaset

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/claim"
	"kubus.dev/services/controllers/internal/pod"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func newSet(wish int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "s", Generation: 3},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &wish, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
		},
	}
}

type option func(*corev1.Pod)

func newPod(name string, options ...option) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"},
			CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			OwnerReferences:   []metav1.OwnerReference{*controllerOf(newSet(0))},
		},
		Spec:   corev1.PodSpec{NodeName: "n"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, o := range options {
		o(p)
	}
	return p
}

func orphan(p *corev1.Pod)     { p.OwnerReferences = nil }
func foreign(p *corev1.Pod)    { p.OwnerReferences[0].UID = "other" }
func unlabelled(p *corev1.Pod) { p.Labels = nil }
func pending(p *corev1.Pod)    { p.Status.Phase = corev1.PodPending }
func failed(p *corev1.Pod)     { p.Status.Phase = corev1.PodFailed }
func unassigned(p *corev1.Pod) { p.Spec.NodeName = ""; p.Status.Phase = corev1.PodPending }
func deleting(p *corev1.Pod)   { at := metav1.NewTime(now); p.DeletionTimestamp = &at }
func on(node string) option    { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
func cost(c string) option {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: c} }
}
func ready(ago time.Duration) option {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-ago))}}
	}
}
func restarted(n int32) option {
	return func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: n}} }
}
func created(ago time.Duration) option {
	return func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now.Add(-ago)) }
}

func names(pods []*corev1.Pod) (all string) {
	for _, p := range pods {
		all += p.Name + " "
	}
	return all
}

func TestClaim(t *testing.T) {
	t.Parallel()
	pods := []*corev1.Pod{
		newPod("mine"), newPod("adoptable", orphan), newPod("foreign", foreign), newPod("lost-its-label", unlabelled),
		newPod("stranger", orphan, unlabelled), newPod("done", failed), newPod("going", deleting), newPod("orphan-going", orphan, deleting),
	}
	selector := labels.SelectorFromSet(labels.Set{"app": "web"})
	owner := func(set *appsv1.ReplicaSet) claim.Owner {
		return claim.Owner{Object: set, Kind: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), Selector: selector}
	}
	got := claim.Of(owner(newSet(1)), active(pods))
	if names(got.Owned) != "mine " || names(got.Adopt) != "adoptable " || names(got.Release) != "lost-its-label " {
		t.Errorf("owned %q, adopt %q, release %q", names(got.Owned), names(got.Adopt), names(got.Release))
	}
	gone := newSet(1)
	at := metav1.NewTime(now)
	gone.DeletionTimestamp = &at
	if got := claim.Of(owner(gone), active(pods)); names(got.Owned) != "mine " || len(got.Adopt)+len(got.Release) != 0 {
		t.Errorf("a set in deletion took or released: %+v", got)
	}
	if n := terminating(newSet(1), selector, pods); n != 1 {
		t.Errorf("terminating: got %d, want 1", n)
	}
}

func TestScale(t *testing.T) {
	t.Parallel()
	three := []*corev1.Pod{newPod("a"), newPod("b", pending), newPod("c")}
	if got := scale(newSet(5), three, nil, now); got.Create != 2 || got.Delete != nil {
		t.Errorf("five wished, three there: %+v", got)
	}
	if got := scale(newSet(2), three, nil, now); got.Create != 0 || names(got.Delete) != "b " {
		t.Errorf("two wished, three there: %+v", got)
	}
	if got := scale(newSet(3), three, nil, now); !got.none() {
		t.Errorf("three wished, three there: %+v", got)
	}
	gone := newSet(5)
	at := metav1.NewTime(now)
	gone.DeletionTimestamp = &at
	if got := scale(gone, three, nil, now); !got.none() {
		t.Errorf("a set in deletion scales: %+v", got)
	}
}

func TestTheFirstToGo(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name         string
		first, other *corev1.Pod
	}{
		{"an unassigned pod before an assigned one", newPod("a", unassigned), newPod("b", pending)},
		{"a pending pod before a running one", newPod("a", pending), newPod("b")},
		{"one that is not ready before a ready one", newPod("a"), newPod("b", ready(time.Hour))},
		{"a cheaper one before a dearer one", newPod("a", ready(time.Hour), cost("-5")), newPod("b", ready(time.Minute), cost("3"))},
		{"one with neighbours before a lonely one", newPod("a", ready(time.Hour)), newPod("b", ready(time.Minute), on("lonely"))},
		{"one ready for a shorter time", newPod("a", ready(time.Minute)), newPod("b", ready(time.Hour))},
		{"one restarted more often", newPod("a", ready(time.Hour), restarted(3)), newPod("b", ready(time.Hour), restarted(1))},
		{"a younger one", newPod("a", created(time.Minute)), newPod("b", created(time.Hour))},
		{"of about the same age, the lower UID", newPod("a", created(61*time.Minute)), newPod("b", created(60*time.Minute))},
		{"of two that nothing sets apart, the lower UID", newPod("a"), newPod("b")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			related := []*corev1.Pod{c.first, c.other, newPod("neighbour")}
			for _, order := range [][]*corev1.Pod{{c.first, c.other}, {c.other, c.first}} {
				if got := victims(order, related, 1, now); got[0] != c.first {
					t.Errorf("of %q %q went", names(order), names(got))
				}
			}
		})
	}
}

func TestMalformedDeletionCostsCountAsZero(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int32{"": 0, "5": 5, "-5": -5, "0": 0, "+5": 0, "05": 0, "x": 0, "99999999999": 0} {
		if got := deletionCost(newPod("a", cost(value))); got != want {
			t.Errorf("%q: got %d, want %d", value, got, want)
		}
	}
}

func TestStatusCountsAndConditions(t *testing.T) {
	t.Parallel()
	set := newSet(3)
	set.Spec.MinReadySeconds = 30
	active := []*corev1.Pod{newPod("a", ready(time.Minute)), newPod("b", ready(10*time.Second)), newPod("c")}
	got := status(set, active, 1, &failure{"FailedCreate", "no room"}, now)
	if got.Replicas != 3 || got.FullyLabeledReplicas != 3 || got.ReadyReplicas != 2 || got.AvailableReplicas != 1 || *got.TerminatingReplicas != 1 || got.ObservedGeneration != 3 {
		t.Errorf("got %+v", got)
	}
	if len(got.Conditions) != 1 || got.Conditions[0].Reason != "FailedCreate" {
		t.Errorf("conditions: %+v", got.Conditions)
	}
	set.Status = got
	if again := status(set, active, 1, &failure{"FailedCreate", "still no room"}, now.Add(time.Minute)); again.Conditions[0] != got.Conditions[0] {
		t.Errorf("the condition changed: %+v", again.Conditions)
	}
	if fine := status(set, active, 1, nil, now); len(fine.Conditions) != 0 {
		t.Errorf("the condition stayed: %+v", fine.Conditions)
	}
	if wait := pod.NextAvailable(active, set.Spec.MinReadySeconds, now); wait != 20*time.Second {
		t.Errorf("looks again after %v, want 20s", wait)
	}
}

func controllerOf(set *appsv1.ReplicaSet) *metav1.OwnerReference {
	return metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
}
