// Package claim is how a controller comes to the objects that its selector names:
// it takes orphans that match, and lets go what no longer does.
//
// Of is the decision, Settle carries it out. A conflict with another claim is an
// error, for a later reconcile; an object that is gone is none.
package claim

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// Owner is who claims.
type Owner struct {
	metav1.Object
	Kind     schema.GroupVersionKind
	Path     string // in the API
	Selector labels.Selector
	// Finalizers are put on what it adopts, and taken from what it releases.
	Finalizers []string
}

// Selector is that of a spec. The empty one, which would match everything, matches nothing.
func Selector(spec *metav1.LabelSelector) (labels.Selector, error) {
	selector, err := metav1.LabelSelectorAsSelector(spec)
	if err != nil {
		return nil, fmt.Errorf("invalid label selector: %w", err)
	}
	if selector.Empty() {
		return labels.Nothing(), nil
	}
	return selector, nil
}

// Claims say which objects an owner has, and which it is to take or let go.
type Claims[T any] struct {
	Owned   []*T // controlled by the owner, matching
	Adopt   []*T // matching orphans that are not being deleted
	Release []*T // controlled by the owner but no longer matching
}

type object[T any] interface {
	*T
	metav1.Object
}

// Of sorts the objects of the owner's namespace that are its own or nobody's. An
// owner that is being deleted takes and releases nothing.
func Of[T any, P object[T]](o Owner, objects []*T) Claims[T] {
	var c Claims[T]
	for _, each := range objects {
		p := P(each)
		matches := o.Selector.Matches(labels.Set(p.GetLabels()))
		controller := metav1.GetControllerOfNoCopy(p)
		switch {
		case controller != nil && controller.UID != o.GetUID(): // somebody else's
		case controller != nil && matches:
			c.Owned = append(c.Owned, each)
		case o.GetDeletionTimestamp() != nil:
		case controller != nil:
			c.Release = append(c.Release, each)
		case matches && p.GetDeletionTimestamp() == nil:
			c.Adopt = append(c.Adopt, each)
		}
	}
	return c
}

// Settle adopts and releases, and returns the owner's objects as the mirror then
// shows them.
func Settle[T any, P object[T]](ctx context.Context, w *write.Client, o Owner, children *mirror.Kind[T], found Claims[T]) ([]*T, error) {
	if len(found.Adopt)+len(found.Release) == 0 {
		return found.Owned, nil
	}
	if len(found.Adopt) > 0 {
		if err := w.MayAdopt(ctx, o.Kind.Kind, o.Path, o.Object); err != nil {
			return nil, err
		}
	}
	var requests []apiclient.Request
	add := func(p metav1.Object, reference any, finalizers string) error {
		meta := map[string]any{"uid": p.GetUID(), "ownerReferences": []any{reference}}
		if len(o.Finalizers) > 0 {
			meta[finalizers] = o.Finalizers
		}
		request, err := write.Strategic(children.Path(p.GetNamespace(), p.GetName()), map[string]any{"metadata": meta})
		requests = append(requests, request)
		return err
	}
	for _, each := range found.Adopt {
		if err := add(P(each), metav1.NewControllerRef(o, o.Kind), "finalizers"); err != nil {
			return nil, err
		}
	}
	for _, each := range found.Release {
		if err := add(P(each), map[string]any{"$patch": "delete", "uid": o.GetUID()}, "$deleteFromPrimitiveList/finalizers"); err != nil {
			return nil, err
		}
	}
	results, err := w.Do(ctx, requests...)
	if err != nil {
		return nil, fmt.Errorf("adopting and releasing %s: %w", children.Resource(), err)
	}
	newest, err := outcome(children.Resource().String(), len(found.Adopt), results)
	if err != nil {
		return nil, err
	}
	if err := children.WaitRevision(ctx, newest); err != nil {
		return nil, err
	}
	owned := make([]*T, 0, len(found.Owned)+len(found.Adopt))
	for _, list := range [][]*T{found.Owned, found.Adopt} {
		for _, each := range list {
			present := children.Get(P(each).GetNamespace(), P(each).GetName())
			if present != nil && metav1.IsControlledBy(P(present), o) {
				owned = append(owned, present)
			}
		}
	}
	return owned, nil
}

// outcome gives the newest revision of the writes, of which the first are adoptions.
func outcome(name string, adoptions int, results []apiclient.Result) (newest uint64, err error) {
	var errs []error
	for i, result := range results {
		switch released := i >= adoptions; {
		case result.Err == nil:
			newest = max(newest, write.Revision(result.Body))
		case apierrors.IsNotFound(result.Err):
		case released && apierrors.IsInvalid(result.Err): // replaced by another object of the name
		default:
			errs = append(errs, fmt.Errorf("claiming %s: %w", name, result.Err))
		}
	}
	return newest, errors.Join(errs...)
}
