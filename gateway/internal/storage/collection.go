package storage

import (
	"context"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"kubus.dev/gateway/internal/continuation"
	"kubus.dev/proto/statelog"
)

// deleteWorkers is how many objects a deletecollection has under way: enough to
// share commits.
const deleteWorkers = 32

// DeleteCollection deletes what matches, not atomically, and gives the list of it.
func (s *Store) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions, list *metainternal.ListOptions) (runtime.Object, error) {
	if _, err := s.backend.Log.Barrier(ctx, s.kind.GR()); err != nil {
		return nil, apiError(err, s.named(ctx), "")
	}
	out, err := s.List(ctx, list)
	if err != nil {
		return nil, err
	}
	items, err := meta.ExtractList(out)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	var group errgroup.Group
	group.SetLimit(deleteWorkers)
	var failed atomic.Bool
	errs := make([]error, len(items))
	for i, item := range items {
		if failed.Load() {
			break
		}
		group.Go(func() error {
			errs[i] = s.deleteItem(ctx, item, validate, options)
			failed.Store(failed.Load() || errs[i] != nil)
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	// The answer is that of the first, in the order of the list.
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// deleteItem deletes one object of a collection, if it is still there.
func (s *Store) deleteItem(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) error {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	if s.kind.Namespaced {
		ctx = request.WithNamespace(ctx, accessor.GetNamespace())
	}
	_, _, err = s.Delete(ctx, accessor.GetName(), validate, options.DeepCopy())
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// List gives the objects that match, decoded; for deletecollection and for deciding,
// not for serving reads.
func (s *Store) List(ctx context.Context, options *metainternal.ListOptions) (runtime.Object, error) {
	if options == nil {
		options = &metainternal.ListOptions{}
	}
	snapshot, after, err := s.begin(ctx, options)
	if err != nil {
		return nil, err
	}
	match, err := s.matcher(options)
	if err != nil {
		return nil, err
	}
	namespace := ""
	if s.kind.Namespaced {
		namespace = request.NamespaceValue(ctx)
	}
	var items []runtime.Object
	more := false
	snapshot.AscendAfter(namespace, after.Namespace, after.Name, func(e *statelog.Entry) bool {
		var obj runtime.Object
		if obj, err = s.decode(e); err != nil {
			err = apierrors.NewInternalError(err)
			return false
		}
		var ok bool
		if ok, err = match(obj); err != nil || !ok {
			return err == nil
		}
		if more = options.Limit > 0 && int64(len(items)) == options.Limit; more {
			return false
		}
		items = append(items, obj)
		after.Namespace, after.Name = e.Key().Namespace, e.Key().Name
		return true
	})
	if err != nil {
		return nil, err
	}
	out := s.kind.Codec.NewList()
	if err := meta.SetList(out, items); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	list, err := meta.ListAccessor(out)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	list.SetResourceVersion(strconv.FormatUint(snapshot.Revision(), 10))
	if more {
		after.Revision = int64(snapshot.Revision())
		list.SetContinue(after.Encode())
	}
	return out, nil
}

// begin gives what to list: the collection as it is, or what a token goes on with.
func (s *Store) begin(ctx context.Context, options *metainternal.ListOptions) (statelog.Snapshot, continuation.Token, error) {
	view := s.backend.Log.View(s.kind.GR())
	if options.Continue == "" {
		return view.Snapshot(s.kind.GR()), continuation.Token{Began: s.backend.now()}, nil
	}
	t, err := continuation.Decode(options.Continue, s.kind.Namespaced)
	if err != nil || t.Revision < 0 { // continuation.Latest
		return view.Snapshot(s.kind.GR()), t, err
	}
	if err := view.WaitFor(ctx, uint64(t.Revision)); err != nil {
		return statelog.Snapshot{}, t, apiError(err, s.named(ctx), "")
	}
	snapshot, err := view.SnapshotAt(s.kind.GR(), uint64(t.Revision))
	if err != nil {
		return snapshot, t, t.Expired()
	}
	return snapshot, t, nil
}

func (s *Store) matcher(options *metainternal.ListOptions) (func(runtime.Object) (bool, error), error) {
	label, byField := labels.Everything(), fields.Everything()
	if options.LabelSelector != nil {
		label = options.LabelSelector
	}
	if options.FieldSelector != nil {
		byField = options.FieldSelector
	}
	return func(obj runtime.Object) (bool, error) {
		have, fieldSet, err := s.attrs(obj)
		if err != nil {
			return false, err
		}
		return label.Matches(have) && byField.Matches(fieldSet), nil
	}, nil
}

func (s *Store) attrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	if s.kind.Attrs != nil {
		return s.kind.Attrs(obj)
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, nil, err
	}
	set := fields.Set{"metadata.name": accessor.GetName()}
	if s.kind.Namespaced {
		set["metadata.namespace"] = accessor.GetNamespace()
	}
	return accessor.GetLabels(), set, nil
}

// Watch is not served here.
func (s *Store) Watch(ctx context.Context, _ *metainternal.ListOptions) (watch.Interface, error) {
	return nil, apierrors.NewMethodNotSupported(s.named(ctx), "watch")
}
