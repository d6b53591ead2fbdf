package storage

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"

	"kubus.dev/proto/statelog"
)

// Shown is what a collection shows to readers and nobody stores.
type Shown interface {
	// Get gives one under the resourceVersion revision, nil where there is none.
	Get(ns, name string, revision uint64) *statelog.Entry
	// Forget shows it no more until there is something new to show.
	Forget(ns, name string)
}

// shownBeside is the storage of a collection with shown objects. Whoever creates,
// updates or patches one stores a real object, which hides it from then on; to
// delete it is to forget it.
type shownBeside struct {
	*Store
	shown Shown
}

// find gives a shown object; nil where there is none, or a stored one hides it.
func (s shownBeside) find(ctx context.Context, name string) (runtime.Object, error) {
	key, err := s.key(ctx, name)
	if err != nil {
		return nil, err
	}
	if s.current(key) != nil {
		return nil, nil
	}
	entry := s.shown.Get(key.Namespace, key.Name, s.backend.Log.View(key.GroupResource).Revision())
	if entry == nil {
		return nil, nil
	}
	obj, err := s.decode(entry)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return obj, nil
}

// Update stores what becomes of a shown object where none is stored.
func (s shownBeside) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	shown, err := s.find(ctx, name)
	if err != nil {
		return nil, false, err
	}
	if shown != nil {
		info = updateOfShown{info, shown}
	}
	return s.Store.Update(ctx, name, info, createValidation, updateValidation, forceAllowCreate, options)
}

// updateOfShown puts the shown object where none is stored. Its resourceVersion is
// that of the collection and says nothing of it, so it is not compared.
type updateOfShown struct {
	rest.UpdatedObjectInfo
	shown runtime.Object
}

// Preconditions leaves out the uid of the shown object: the stored one has its own.
// If somebody else stored one in the meantime, the resourceVersion tells.
func (u updateOfShown) Preconditions() *metav1.Preconditions {
	p := u.UpdatedObjectInfo.Preconditions()
	accessor, err := meta.Accessor(u.shown)
	if err != nil || p == nil || p.UID == nil || *p.UID != accessor.GetUID() {
		return p
	}
	others := *p
	others.UID = nil
	return &others
}

func (u updateOfShown) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	accessor, err := meta.Accessor(old)
	if err != nil {
		return nil, err
	}
	if accessor.GetUID() == "" {
		old = u.shown.DeepCopyObject()
	}
	return u.UpdatedObjectInfo.UpdatedObject(ctx, old)
}

// Delete forgets a shown object where none is stored.
func (s shownBeside) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	out, gone, err := s.Store.Delete(ctx, name, validate, options)
	if !apierrors.IsNotFound(err) {
		return out, gone, err
	}
	shown, findErr := s.find(ctx, name)
	if findErr != nil {
		return nil, false, findErr
	}
	if shown == nil {
		return nil, false, err
	}
	return s.forget(ctx, name, shown, validate, options)
}

func (s shownBeside) forget(ctx context.Context, name string, shown runtime.Object, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	key, err := s.key(ctx, name)
	if err != nil {
		return nil, false, err
	}
	if options == nil {
		options = metav1.NewDeleteOptions(0)
	}
	d := &deletion{store: s.Store, key: key, options: options}
	if _, err := d.beforeDelete(ctx, shown); err != nil {
		return nil, false, err
	}
	if validate != nil {
		if err := validate(ctx, shown); err != nil {
			return nil, false, err
		}
	}
	if !dryrun.IsDryRun(options.DryRun) {
		s.shown.Forget(key.Namespace, key.Name)
	}
	return d.answer(ctx, shown, true)
}
