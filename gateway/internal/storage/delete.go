package storage

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// DeleteReturnsDeletedObject is upstream's rest.MayReturnFullObjectDeleter.
func (s *Store) DeleteReturnsDeletedObject() bool { return s.kind.ReturnDeleted }

var (
	errDeleteNow       = errors.New("delete now")
	errAlreadyDeleting = errors.New("already deleting")
)

// Delete takes an object out of the log, or marks it as being deleted while a
// grace period or a finalizer holds it. The second result says whether it is gone.
func (s *Store) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	key, err := s.key(ctx, name)
	if err != nil {
		return nil, false, err
	}
	if options == nil {
		options = metav1.NewDeleteOptions(0)
	}
	d := &deletion{store: s, key: key, validate: validate, options: options, dryRun: dryrun.IsDryRun(options.DryRun)}
	out, gone, err := d.run(ctx)
	if err != nil {
		return nil, false, apiError(err, s.named(ctx), name)
	}
	return out, gone, nil
}

// deletion is one Delete on its way.
type deletion struct {
	store    *Store
	key      proto.Key
	validate rest.ValidateObjectFunc
	options  *metav1.DeleteOptions
	dryRun   bool

	before runtime.Object // the object as last seen unmarked
}

func (d *deletion) run(ctx context.Context) (runtime.Object, bool, error) {
	// Preconditions are beforeDelete's to check here, in upstream's words.
	out, err := d.store.write(ctx, change{key: d.key, dryRun: d.dryRun,
		apply: func(existing runtime.Object, _ *statelog.Entry) (runtime.Object, error) { return d.mark(ctx, existing) }})
	switch {
	case errors.Is(err, errAlreadyDeleting):
		return d.answer(ctx, d.before, false)
	case errors.Is(err, errDeleteNow):
		return d.remove(ctx)
	case err != nil:
		return nil, false, err
	}
	return out, false, nil
}

// mark decides what becomes of the existing object: marked as being deleted,
// removed at once (errDeleteNow), or left as it is (errAlreadyDeleting).
func (d *deletion) mark(ctx context.Context, existing runtime.Object) (runtime.Object, error) {
	d.before = existing.DeepCopyObject()
	graceful, err := d.beforeDelete(ctx, existing)
	if err != nil {
		return nil, err
	}
	accessor, err := meta.Accessor(existing)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if finalizers, changed := collectorFinalizers(ctx, d.store.kind.Delete, accessor, d.options); changed {
		accessor.SetFinalizers(finalizers)
	}
	grace := accessor.GetDeletionGracePeriodSeconds()
	switch pending := len(accessor.GetFinalizers()) > 0; {
	case graceful && (pending || grace != nil && *grace > 0):
	case pending:
		markDeleting(accessor, metav1.NewTime(d.store.backend.now()))
	default:
		return nil, errDeleteNow
	}
	if d.validate != nil {
		if err := d.validate(ctx, d.before); err != nil {
			return nil, err
		}
	}
	return existing, nil
}

// beforeDelete lets the strategy mark the object. The options of each attempt
// are its own, since a strategy fills in its defaults.
func (d *deletion) beforeDelete(ctx context.Context, existing runtime.Object) (graceful bool, err error) {
	graceful, already, err := rest.BeforeDelete(d.store.kind.Delete, ctx, existing, d.options.DeepCopy())
	if err == nil && already {
		err = errAlreadyDeleting
	}
	return graceful, err
}

// remove takes the object away in one write. Where upstream first writes a grace
// period of zero and then deletes, the tombstone alone carries that state.
func (d *deletion) remove(ctx context.Context) (runtime.Object, bool, error) {
	c := change{key: d.key, preconditions: d.options.Preconditions, dryRun: d.dryRun}
	if _, ok := d.store.kind.Delete.(rest.RESTGracefulDeleteStrategy); ok {
		c.apply = func(existing runtime.Object, _ *statelog.Entry) (runtime.Object, error) {
			_, err := d.beforeDelete(ctx, existing)
			return existing, err
		}
	}
	out, err := d.store.remove(ctx, c, d.validate)
	if errors.Is(err, errAlreadyDeleting) {
		return d.answer(ctx, d.before, false)
	}
	if err != nil {
		return nil, false, err
	}
	d.store.afterDelete(ctx, out, d.dryRun)
	return d.answer(ctx, out, true)
}

// answer is the deleted object or a Status, as the kind has it.
func (d *deletion) answer(ctx context.Context, obj runtime.Object, gone bool) (runtime.Object, bool, error) {
	if d.store.kind.ReturnDeleted {
		return obj, gone, nil
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, false, apierrors.NewInternalError(err)
	}
	gr := d.store.named(ctx)
	return &metav1.Status{Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{
		Name: accessor.GetName(), Group: gr.Group, Kind: gr.Resource, UID: accessor.GetUID(),
	}}, gone, nil
}

// markDeleting sets what finalizers wait for on kinds without a grace period.
func markDeleting(accessor metav1.Object, now metav1.Time) {
	at := accessor.GetDeletionTimestamp()
	if at == nil && accessor.GetGeneration() > 0 {
		accessor.SetGeneration(accessor.GetGeneration() + 1)
	}
	if at == nil || at.After(now.Time) {
		accessor.SetDeletionTimestamp(&now)
	}
	var zero int64
	accessor.SetDeletionGracePeriodSeconds(&zero)
}
