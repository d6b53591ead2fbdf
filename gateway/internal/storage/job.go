package storage

import (
	"context"

	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
)

// jobs warns who deletes a Job without saying what is to become of its pods: batch/v1
// orphans them by default.
type jobs struct{ *Store }

// orphanWarning is upstream's.
const orphanWarning = "child pods are preserved by default when jobs are deleted; " +
	"set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"

func (j jobs) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	j.warn(ctx, options)
	return j.Store.Delete(ctx, name, validate, options)
}

func (j jobs) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions, list *metainternal.ListOptions) (runtime.Object, error) {
	j.warn(ctx, options)
	return j.Store.DeleteCollection(ctx, validate, options, list)
}

func (j jobs) warn(ctx context.Context, options *metav1.DeleteOptions) {
	if options == nil || options.PropagationPolicy != nil || options.OrphanDependents != nil { //nolint:staticcheck // deprecated, still served
		return
	}
	if s, ok := j.kind.Delete.(rest.GarbageCollectionDeleteStrategy); ok && s.DefaultGarbageCollectionPolicy(ctx) == rest.OrphanDependents {
		warning.AddWarning(ctx, "", orphanWarning)
	}
}
