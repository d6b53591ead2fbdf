package storage

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	api "k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/proto/statelog"
)

// namespaces deletes in two steps: the phase becomes Terminating at the first
// request; the object goes when the namespace controller has emptied
// spec.finalizers.
type namespaces struct{ *Store }

func keepUnfinalized(obj runtime.Object) bool {
	ns, ok := obj.(*api.Namespace)
	return ok && len(ns.Spec.Finalizers) == 0
}

// GetCorruptObjDeleter: as upstream, a Namespace that cannot be read is not deleted unread.
func (n namespaces) GetCorruptObjDeleter() rest.GracefulDeleter { return nil }

func (n namespaces) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	obj, err := n.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	ns, ok := obj.(*api.Namespace)
	if !ok {
		return nil, false, apierrors.NewInternalError(fmt.Errorf("expected *api.Namespace, got %T", obj))
	}
	if options == nil {
		options = metav1.NewDeleteOptions(0)
	}
	if options.Preconditions == nil {
		options.Preconditions = &metav1.Preconditions{}
	}
	if options.Preconditions.UID == nil {
		options.Preconditions.UID = &ns.UID
	}
	key := n.kind.Key("", name)
	if err := n.checkPreconditions(ctx, change{key: key, preconditions: options.Preconditions}, ns); err != nil {
		return nil, false, err
	}
	switch {
	case ns.DeletionTimestamp.IsZero():
		out, err := n.terminate(ctx, name, validate, options)
		return out, false, apiError(err, n.kind.GroupResource(), name)
	case len(ns.Spec.Finalizers) != 0:
		return ns, false, nil
	}
	return n.Store.Delete(ctx, name, validate, options)
}

func (n namespaces) terminate(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, error) {
	return n.write(ctx, change{key: n.kind.Key("", name), preconditions: options.Preconditions, dryRun: dryrun.IsDryRun(options.DryRun),
		apply: func(existing runtime.Object, _ *statelog.Entry) (runtime.Object, error) {
			ns := existing.(*api.Namespace)
			if validate != nil {
				if err := validate(ctx, ns); err != nil {
					return nil, err
				}
			}
			if ns.DeletionTimestamp.IsZero() {
				now := metav1.NewTime(n.backend.now())
				ns.DeletionTimestamp = &now
			}
			ns.Status.Phase = api.NamespaceTerminating
			if finalizers, changed := namespaceFinalizers(ns.Finalizers, options); changed {
				ns.Finalizers = finalizers
			}
			return ns, nil
		}})
}

// namespaceFinalizers is upstream's rule for namespaces: only what the options
// say, where they say something.
func namespaceFinalizers(have []string, options *metav1.DeleteOptions) ([]string, bool) {
	if options.OrphanDependents == nil && options.PropagationPolicy == nil { //nolint:staticcheck // deprecated, still served
		return have, false
	}
	var orphan, foreground bool
	if o := options.OrphanDependents; o != nil { //nolint:staticcheck // deprecated, still served
		orphan, foreground = *o, !*o
	} else {
		orphan = *options.PropagationPolicy == metav1.DeletePropagationOrphan
		foreground = *options.PropagationPolicy == metav1.DeletePropagationForeground
	}
	var out []string
	for _, f := range have {
		if f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			out = append(out, f)
		}
	}
	if orphan {
		out = append(out, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		out = append(out, metav1.FinalizerDeleteDependents)
	}
	return out, !sameSet(have, out)
}
