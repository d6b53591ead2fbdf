package storage

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/handlers/fieldmanager"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/dryrun"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Store is one kind's storage: rest.StandardStorage without reads of collections,
// which do not pass here. Its strategies decide, the log decides races.
type Store struct {
	kind     *resource.Kind
	backend  *Backend
	creation rest.RESTCreateStrategy
	update   rest.RESTUpdateStrategy
	hooks    Hooks
}

// Hooks are the parts of a kind's semantics that are neither in its strategies
// nor generic. What a begin function gives as first is committed before the object
// (statelog.Write.First), and begin is called again when somebody else was faster
// there. A finish function, when not nil, is called exactly once, with what became of
// the write; the object is as written then. The write that follows a begin rests on
// what the log said of the object before it, deletions included.
type Hooks struct {
	BeginCreate func(ctx context.Context, obj runtime.Object, dryRun bool) (first []statelog.Write, finish func(error), err error)
	BeginUpdate func(ctx context.Context, obj, old runtime.Object, dryRun bool) (first []statelog.Write, finish func(error), err error)
	// Remove commits a deletion instead of the log.
	Remove func(ctx context.Context, w statelog.Write) (uint64, error)
	// AfterDelete runs when the object has left the log.
	AfterDelete func(ctx context.Context, obj runtime.Object, dryRun bool)
	// DeleteDuringUpdate may keep an object whose last finalizer goes.
	DeleteDuringUpdate func(obj runtime.Object) bool
}

// newStore makes the storage of a kind's main resource.
func newStore(kind *resource.Kind, strategies resource.Strategies, backend *Backend, hooks Hooks) *Store {
	return &Store{kind: kind, backend: backend, creation: strategies.Create, update: strategies.Update, hooks: hooks}
}

// With gives the same storage with another update strategy, for a subresource.
func (s *Store) With(update rest.RESTUpdateStrategy) *Store {
	out := *s
	out.update = update
	return &out
}

// New makes an empty object of the internal version.
func (s *Store) New() runtime.Object { return s.kind.Codec.New() }

// NewList makes an empty list of the internal version.
func (s *Store) NewList() runtime.Object { return s.kind.Codec.NewList() }

// Destroy does nothing: the log outlives its stores.
func (s *Store) Destroy() {}

// NamespaceScoped tells how objects are named.
func (s *Store) NamespaceScoped() bool { return s.kind.Namespaced }

// GetSingularName is upstream's rest.SingularNameProvider.
func (s *Store) GetSingularName() string { return s.kind.Singular }

// ConvertToTable renders objects for kubectl get.
func (s *Store) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return s.kind.Tables.ConvertToTable(ctx, obj, options)
}

// Get gives one object as the view has it, or behind a barrier if it has none.
func (s *Store) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	key, err := s.key(ctx, name)
	if err != nil {
		return nil, err
	}
	entry := s.current(key)
	if entry == nil {
		if entry, err = s.latest(ctx, key); err != nil {
			return nil, apiError(err, s.named(ctx), name)
		}
	}
	if entry == nil {
		return nil, apierrors.NewNotFound(s.named(ctx), name)
	}
	obj, err := s.decode(entry)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return obj, nil
}

// nameAttempts is upstream's number of names tried for a generateName.
const nameAttempts = 8

// Create writes a new object.
func (s *Store) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	if accessor.GetGenerateName() == "" || accessor.GetName() != "" {
		return s.createAgain(ctx, obj, validate, options)
	}
	var out runtime.Object
	for range nameAttempts {
		out, err = s.createAgain(ctx, obj.DeepCopyObject(), validate, options)
		if err == nil || !apierrors.IsAlreadyExists(err) || withoutRetry(ctx) {
			break
		}
	}
	return out, err
}

// createAgain repeats a create whose begin hook chose what somebody else had first,
// or rested on a deletion that was not the last one.
func (s *Store) createAgain(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	if s.hooks.BeginCreate == nil {
		return s.create(ctx, obj, validate, options)
	}
	for {
		out, err := s.create(ctx, obj.DeepCopyObject(), validate, options)
		var conflict *statelog.ConflictError
		if !errors.As(err, &conflict) || ctx.Err() != nil {
			return out, err
		}
		if withoutRetry(ctx) {
			return nil, apiError(err, s.named(ctx), conflict.Key.Name)
		}
	}
}

func (s *Store) create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (_ runtime.Object, err error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	rest.FillObjectMetaSystemFields(accessor)
	if accessor.GetGenerateName() != "" && accessor.GetName() == "" {
		accessor.SetName(s.creation.GenerateName(accessor.GetGenerateName()))
	}
	key, err := s.key(ctx, accessor.GetName())
	if err != nil {
		return nil, err
	}
	dryRun, since := dryrun.IsDryRun(options.DryRun), s.since(key)
	first, finish, err := s.beginCreate(ctx, obj, dryRun)
	if err != nil {
		return nil, err
	}
	defer func() { finish(err) }()
	if err := s.validateCreate(ctx, obj, validate); err != nil {
		return nil, err
	}
	if err := s.insert(ctx, statelog.Write{Key: key, Since: since, First: first}, obj, dryRun); err != nil {
		return nil, rest.CheckGeneratedNameError(ctx, s.creation, err, obj)
	}
	return obj, nil
}

// since is the last message that the view knows of an object.
func (s *Store) since(key proto.Key) uint64 {
	_, revision := s.backend.Log.View(key.GroupResource).Last(key.GroupResource, key.Namespace, key.Name)
	return revision
}

// insert commits an object that must not exist yet, as w without its data. Where a
// hook began the write, a *statelog.ConflictError says that something happened that
// the hook did not know, and that there is no object now.
func (s *Store) insert(ctx context.Context, w statelog.Write, obj runtime.Object, dryRun bool) error {
	if !dryRun {
		if err := withoutRevision(obj); err != nil {
			return err
		}
	}
	key, gr := w.Key, s.named(ctx)
	name := key.Name
	if live := s.current(key); live != nil {
		// The view may be behind a deletion elsewhere.
		live, err := s.latest(ctx, key)
		if err != nil {
			return apiError(err, gr, name)
		}
		if live != nil {
			return alreadyExists(gr, name, live)
		}
	}
	if dryRun {
		return s.kind.Settle(obj)
	}
	document, err := s.kind.Document(obj)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if w.Data, err = s.stored(key, document); err != nil {
		return apierrors.NewInternalError(err)
	}
	w.TTL, w.Strict = s.kind.TTL, s.hooks.BeginCreate != nil
	revision, err := s.backend.Log.Commit(ctx, w)
	var conflict *statelog.ConflictError
	if errors.As(err, &conflict) {
		if conflict.Key == key && conflict.Current != nil {
			return alreadyExists(gr, name, conflict.Current)
		}
		if w.Strict {
			return err
		}
	}
	if err != nil {
		return apiError(err, gr, name)
	}
	return setRevision(obj, revision)
}

// withoutRevision refuses a new object that claims to have been written already,
// with upstream's error. What is no number is no claim.
func withoutRevision(obj runtime.Object) error {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	if version, err := strconv.ParseUint(accessor.GetResourceVersion(), 10, 64); err == nil && version != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	return nil
}

func alreadyExists(gr schema.GroupResource, name string, live *statelog.Entry) error {
	err := apierrors.NewAlreadyExists(gr, name)
	if live.Meta().DeletionTimestamp != "" {
		err.ErrStatus.Message = "object is being deleted: " + err.ErrStatus.Message
	}
	return err
}

func (s *Store) beginCreate(ctx context.Context, obj runtime.Object, dryRun bool) ([]statelog.Write, func(error), error) {
	if s.hooks.BeginCreate == nil {
		return nil, func(error) {}, nil
	}
	return orNothing(s.hooks.BeginCreate(ctx, obj, dryRun))
}

func (s *Store) beginUpdate(ctx context.Context, obj, old runtime.Object, dryRun bool) ([]statelog.Write, func(error), error) {
	if s.hooks.BeginUpdate == nil {
		return nil, func(error) {}, nil
	}
	return orNothing(s.hooks.BeginUpdate(ctx, obj, old, dryRun))
}

func orNothing(first []statelog.Write, finish func(error), err error) ([]statelog.Write, func(error), error) {
	if finish == nil {
		finish = func(error) {}
	}
	return first, finish, err
}

func (s *Store) validateCreate(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc) error {
	if err := rest.BeforeCreate(s.creation, ctx, obj); err != nil {
		return err
	}
	if validate == nil {
		return nil
	}
	return validate(ctx, obj.DeepCopyObject())
}

// Update changes an object, or creates it where that is allowed. The second
// result says whether it was created.
func (s *Store) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	key, err := s.key(ctx, name)
	if err != nil {
		return nil, false, err
	}
	u := &updating{store: s, ctx: ctx, name: name, info: info, create: createValidation, update: updateValidation,
		orCreate: s.update.AllowCreateOnUpdate(ctx) || forceAllowCreate, dryRun: dryrun.IsDryRun(options.DryRun)}
	c := change{key: key, preconditions: info.Preconditions(), orCreate: u.orCreate, dryRun: u.dryRun, apply: u.apply, again: u.finish, first: func() []statelog.Write { return u.first }}
	out, err := s.write(ctx, c)
	u.finish(err)
	switch {
	case errors.Is(err, errEmptied):
		return s.removeEmptied(ctx, c, u)
	case err != nil && u.created != nil:
		return nil, false, rest.CheckGeneratedNameError(ctx, s.creation, apiError(err, s.named(ctx), name), u.created)
	case err != nil:
		return nil, false, apiError(err, s.named(ctx), name)
	}
	return out, u.created != nil, nil
}

// errEmptied ends an update that took the last finalizer of an object in deletion.
var errEmptied = errors.New("emptied finalizers")

// removeEmptied deletes instead of updating; the client gets what it sent.
func (s *Store) removeEmptied(ctx context.Context, c change, u *updating) (runtime.Object, bool, error) {
	c.apply = u.applyEmptied
	removed, err := s.remove(ctx, c, nil)
	u.finish(err)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, false, apiError(err, s.named(ctx), c.key.Name)
	}
	if err == nil {
		s.afterDelete(ctx, removed, c.dryRun)
		accessor, accessorErr := meta.Accessor(removed)
		if accessorErr == nil && !c.dryRun {
			if out, outErr := meta.Accessor(u.emptied); outErr == nil {
				out.SetResourceVersion(accessor.GetResourceVersion())
			}
		}
	}
	return u.emptied, false, nil
}

func (s *Store) afterDelete(ctx context.Context, obj runtime.Object, dryRun bool) {
	if s.hooks.AfterDelete != nil {
		s.hooks.AfterDelete(ctx, obj, dryRun)
	}
}

// updating is one Update on its way through its attempts.
type updating struct {
	store    *Store
	ctx      context.Context // of the one request that this value serves
	name     string
	info     rest.UpdatedObjectInfo
	create   rest.ValidateObjectFunc
	update   rest.ValidateObjectUpdateFunc
	orCreate bool
	dryRun   bool

	first   []statelog.Write // of the last attempt's begin hook, as done
	done    func(error)
	created runtime.Object // the last attempt was to create this
	emptied runtime.Object
}

func (u *updating) finish(err error) {
	if u.done != nil {
		u.done(err)
		u.done = nil
	}
}

func (u *updating) apply(existing runtime.Object, entry *statelog.Entry) (runtime.Object, error) {
	u.created = nil
	obj, err := u.info.UpdatedObject(u.ctx, existing)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return obj, u.applyCreate(obj)
	}
	if err := u.checkVersion(obj, entry.Revision()); err != nil {
		return nil, err
	}
	if u.first, u.done, err = u.store.beginUpdate(u.ctx, obj, existing, u.dryRun); err != nil {
		return nil, err
	}
	if err := rest.BeforeUpdate(u.store.update, u.ctx, obj, existing); err != nil {
		return nil, err
	}
	obj, err = fieldmanager.IgnoreManagedFieldsTimestampsTransformer(u.ctx, obj, existing)
	if err != nil {
		return nil, err
	}
	if u.update != nil {
		if err := u.update(u.ctx, obj.DeepCopyObject(), existing.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if u.store.deletesDuringUpdate(obj, existing) {
		u.emptied = obj
		return nil, errEmptied
	}
	return obj, nil
}

// applyEmptied is apply for an object that is to be removed for it.
func (u *updating) applyEmptied(existing runtime.Object, entry *statelog.Entry) (runtime.Object, error) {
	_, err := u.apply(existing, entry)
	switch {
	case errors.Is(err, errEmptied):
		return u.emptied, nil
	case err == nil: // somebody added a finalizer in the meantime
		err = apierrors.NewConflict(u.store.named(u.ctx), u.name, errors.New("the object has another finalizer now"))
	}
	return nil, err
}

func (u *updating) applyCreate(obj runtime.Object) error {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	rest.WipeObjectMetaSystemFields(accessor)
	rest.FillObjectMetaSystemFields(accessor)
	if u.first, u.done, err = u.store.beginCreate(u.ctx, obj, u.dryRun); err != nil {
		return err
	}
	u.created = obj
	return u.store.validateCreate(u.ctx, obj, u.create)
}

// checkVersion holds the object's resourceVersion against the live one.
func (u *updating) checkVersion(obj runtime.Object, live uint64) error {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	rv := accessor.GetResourceVersion()
	if rv == "0" {
		rv = ""
	}
	gr := u.store.named(u.ctx)
	switch {
	case rv == "" && u.store.update.AllowUnconditionalUpdate(u.ctx):
		return setRevision(obj, live)
	case rv == "":
		return apierrors.NewInvalid(schema.GroupKind{Group: gr.Group, Kind: gr.Resource}, u.name,
			field.ErrorList{field.Invalid(field.NewPath("metadata").Child("resourceVersion"), 0, "must be specified for an update")})
	}
	version, err := strconv.ParseUint(rv, 10, 64)
	if err != nil {
		return apierrors.NewInvalid(schema.GroupKind{Group: gr.Group, Kind: gr.Resource}, u.name,
			field.ErrorList{field.Invalid(field.NewPath("metadata").Child("resourceVersion"), rv, fmt.Sprintf("invalid resource version: %v", err))})
	}
	if version != live {
		return apierrors.NewConflict(gr, u.name, errors.New(staleMessage))
	}
	return nil
}

// deletesDuringUpdate says whether the update takes the last thing that keeps an
// object in deletion.
func (s *Store) deletesDuringUpdate(obj, existing runtime.Object) bool {
	after, err := meta.Accessor(obj)
	if err != nil {
		return false
	}
	before, err := meta.Accessor(existing)
	if err != nil || len(after.GetFinalizers()) > 0 || before.GetDeletionTimestamp() == nil {
		return false
	}
	if grace := before.GetDeletionGracePeriodSeconds(); grace != nil && *grace != 0 {
		return false
	}
	return s.hooks.DeleteDuringUpdate == nil || s.hooks.DeleteDuringUpdate(obj)
}
