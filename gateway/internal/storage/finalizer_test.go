package storage

import (
	"context"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
)

// policied is a delete strategy with a default for dependents.
type policied struct {
	policy rest.GarbageCollectionPolicy
}

func (p policied) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	return p.policy
}
func (p policied) ObjectKinds(runtime.Object) ([]schema.GroupVersionKind, bool, error) {
	return nil, false, nil
}

func TestCollectorFinalizers(t *testing.T) {
	t.Parallel()
	orphan, foreground, background := metav1.DeletePropagationOrphan, metav1.DeletePropagationForeground, metav1.DeletePropagationBackground
	yes, no := true, false
	const mine = "example.com/mine"
	for _, c := range []struct {
		name    string
		policy  rest.GarbageCollectionPolicy
		have    []string
		options metav1.DeleteOptions
		want    []string
		changed bool
	}{
		{name: "nothing asked, nothing there: background"},
		{name: "foreground adds its finalizer", options: metav1.DeleteOptions{PropagationPolicy: &foreground}, want: []string{metav1.FinalizerDeleteDependents}, changed: true},
		{name: "orphan adds its finalizer, others stay", have: []string{mine}, options: metav1.DeleteOptions{PropagationPolicy: &orphan}, want: []string{mine, metav1.FinalizerOrphanDependents}, changed: true},
		{name: "background takes both away", have: []string{metav1.FinalizerOrphanDependents, mine}, options: metav1.DeleteOptions{PropagationPolicy: &background}, want: []string{mine}, changed: true},
		{name: "a finalizer that is there decides when nothing is asked", have: []string{metav1.FinalizerDeleteDependents}, want: []string{metav1.FinalizerDeleteDependents}},
		{name: "the old option orphans", options: metav1.DeleteOptions{OrphanDependents: &yes}, want: []string{metav1.FinalizerOrphanDependents}, changed: true},
		{name: "the old option does not orphan", have: []string{metav1.FinalizerOrphanDependents}, options: metav1.DeleteOptions{OrphanDependents: &no}, changed: true},
		{name: "a kind may orphan by default", policy: rest.OrphanDependents, want: []string{metav1.FinalizerOrphanDependents}, changed: true},
		{name: "a kind without collection gets none", policy: rest.Unsupported, options: metav1.DeleteOptions{PropagationPolicy: &foreground}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, changed := collectorFinalizers(t.Context(), policied{policy: c.policy}, &metav1.ObjectMeta{Finalizers: c.have}, &c.options)
			if !slices.Equal(got, c.want) || changed != c.changed {
				t.Errorf("of %v: got %v, %v, want %v, %v", c.have, got, changed, c.want, c.changed)
			}
		})
	}
}

func TestNamespaceFinalizersFollowOnlyTheOptions(t *testing.T) {
	t.Parallel()
	foreground := metav1.DeletePropagationForeground
	have := []string{metav1.FinalizerOrphanDependents}
	if got, changed := namespaceFinalizers(have, &metav1.DeleteOptions{}); changed || !slices.Equal(got, have) {
		t.Errorf("without options: got %v, %v", got, changed)
	}
	if got, changed := namespaceFinalizers(have, &metav1.DeleteOptions{PropagationPolicy: &foreground}); !changed || !slices.Equal(got, []string{metav1.FinalizerDeleteDependents}) {
		t.Errorf("foreground: got %v, %v", got, changed)
	}
}

func (p policied) Recognizes(schema.GroupVersionKind) bool { return false }
