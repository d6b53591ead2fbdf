package storage

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/registry/rest"
)

// collectorFinalizers gives the finalizers that the garbage collector is to find
// on an object that is deleted with these options, and whether they differ from
// those it has. The order of authority is upstream's: the options, the finalizers
// already there, the kind's default.
func collectorFinalizers(ctx context.Context, strategy rest.RESTDeleteStrategy, obj metav1.Object, options *metav1.DeleteOptions) ([]string, bool) {
	policy := rest.GarbageCollectionPolicy("")
	if s, ok := strategy.(rest.GarbageCollectionDeleteStrategy); ok {
		policy = s.DefaultGarbageCollectionPolicy(ctx)
	}
	before := obj.GetFinalizers()
	after := make([]string, 0, len(before)+1)
	for _, f := range before {
		if f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			after = append(after, f)
		}
	}
	if policy != rest.Unsupported {
		switch dependents(policy, before, options) {
		case metav1.DeletePropagationOrphan:
			after = append(after, metav1.FinalizerOrphanDependents)
		case metav1.DeletePropagationForeground:
			after = append(after, metav1.FinalizerDeleteDependents)
		}
	}
	if sameSet(before, after) {
		return before, false
	}
	return after, true
}

// dependents says what is to become of the object's dependents.
func dependents(policy rest.GarbageCollectionPolicy, finalizers []string, options *metav1.DeleteOptions) metav1.DeletionPropagation {
	if orphan := options.OrphanDependents; orphan != nil { //nolint:staticcheck // deprecated, still served
		if *orphan {
			return metav1.DeletePropagationOrphan
		}
		return metav1.DeletePropagationBackground
	}
	if options.PropagationPolicy != nil {
		return *options.PropagationPolicy
	}
	for _, f := range finalizers {
		switch f {
		case metav1.FinalizerOrphanDependents:
			return metav1.DeletePropagationOrphan
		case metav1.FinalizerDeleteDependents:
			return metav1.DeletePropagationForeground
		}
	}
	if policy == rest.OrphanDependents {
		return metav1.DeletePropagationOrphan
	}
	return metav1.DeletePropagationBackground
}

func sameSet(a, b []string) bool {
	for _, x := range a {
		if !slices.Contains(b, x) {
			return false
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			return false
		}
	}
	return true
}
