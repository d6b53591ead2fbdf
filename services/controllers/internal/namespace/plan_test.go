package namespace

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/services/controllers/internal/feed"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestConditions(t *testing.T) {
	t.Parallel()
	left := newRemains()
	left.Resources[schema.GroupResource{Resource: "pods"}] = 2
	left.Resources[schema.GroupResource{Group: "apps", Resource: "deployments"}] = 1
	left.Finalizers["example.com/x"] = 2
	left.Errors = []error{errors.New("b"), errors.New("a")}
	got, changed := conditions(nil, left, now)
	if !changed || len(got) != 5 {
		t.Fatalf("got %+v", got)
	}
	for of, want := range map[corev1.NamespaceConditionType]string{
		corev1.NamespaceDeletionDiscoveryFailure: "All resources successfully discovered",
		corev1.NamespaceDeletionContentFailure:   "Failed to delete all resource types, 2 remaining: a, b",
		corev1.NamespaceContentRemaining:         "Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances",
		corev1.NamespaceFinalizersRemaining:      "Some content in the namespace has finalizers remaining: example.com/x in 2 resource instances",
	} {
		if c := got[indexOf(got, of)]; c.Message != want {
			t.Errorf("%s: got %q, want %q", of, c.Message, want)
		}
	}
	if _, changed := conditions(got, left, now.Add(time.Hour)); changed {
		t.Error("the same remains count as a change")
	}
	fine, changed := conditions(got, newRemains(), now.Add(time.Hour))
	if c := fine[indexOf(fine, corev1.NamespaceContentRemaining)]; !changed || c.Status != corev1.ConditionFalse || !c.LastTransitionTime.Time.Equal(now.Add(time.Hour)) {
		t.Errorf("in the end: %+v", c)
	}
}

func TestOnlyOurFinalizerIsTaken(t *testing.T) {
	t.Parallel()
	got := withoutOurs([]corev1.FinalizerName{"a", corev1.FinalizerKubernetes, "b"})
	if len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("got %v", got)
	}
}

// A group that did not answer may have objects in the namespace.
func TestANamespaceIsNotEmptyWhileSomeOfTheAPIIsUnknown(t *testing.T) {
	t.Parallel()
	known := []feed.Resource{{Kind: "Pod"}}
	for _, tc := range []struct {
		name    string
		catalog *feed.Catalog
		unknown bool
	}{
		{"all is known", feed.NewCatalog(known), false},
		{"nothing is known", feed.NewCatalog(nil), true},
		{"a group did not answer", &feed.Catalog{Resources: known, Incomplete: errors.New("no answer")}, true},
	} {
		if err := undiscovered(tc.catalog); (err != nil) != tc.unknown {
			t.Errorf("%s: got %v", tc.name, err)
		}
	}
}

func TestWhichNamespacesOutliveTheirContent(t *testing.T) {
	said := []corev1.NamespaceCondition{{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue}}
	ours := []corev1.FinalizerName{corev1.FinalizerKubernetes}
	for name, c := range map[string]struct {
		ns   corev1.Namespace
		want bool
	}{
		"one with our finalizer goes with it":       {corev1.Namespace{Spec: corev1.NamespaceSpec{Finalizers: ours}, Status: corev1.NamespaceStatus{Conditions: said}}, false},
		"one with a finalizer of the object stays":  {corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"example.com/x"}}, Spec: corev1.NamespaceSpec{Finalizers: ours}, Status: corev1.NamespaceStatus{Conditions: said}}, true},
		"so does one with another's beside ours":    {corev1.Namespace{Spec: corev1.NamespaceSpec{Finalizers: append(ours, "example.com/x")}, Status: corev1.NamespaceStatus{Conditions: said}}, true},
		"one that said nothing has nothing to mend": {corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"example.com/x"}}, Spec: corev1.NamespaceSpec{Finalizers: ours}}, false},
	} {
		if got := outlives(&c.ns); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
