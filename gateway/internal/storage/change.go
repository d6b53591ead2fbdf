package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// key names the object in the request's namespace.
func (s *Store) key(ctx context.Context, name string) (proto.Key, error) {
	if !s.kind.Namespaced {
		return s.kind.Key("", name), nil
	}
	namespace, ok := request.NamespaceFrom(ctx)
	if !ok || namespace == "" {
		return proto.Key{}, apierrors.NewBadRequest("Namespace parameter required.")
	}
	return s.kind.Key(namespace, name), nil
}

// named is how errors name the resource, as upstream's: by the group that the request
// names, where the kind appears in several.
func (s *Store) named(ctx context.Context) schema.GroupResource {
	if info, ok := request.RequestInfoFrom(ctx); ok && info.Resource == s.kind.GVR.Resource && info.APIGroup != s.kind.GVR.Group {
		for _, gv := range s.kind.Served {
			if gv.Group == info.APIGroup {
				return schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}
			}
		}
	}
	return s.kind.GroupResource()
}

// current is what the process's view shows; nil when there is no such object.
func (s *Store) current(key proto.Key) *statelog.Entry {
	return s.backend.Log.View(key.GroupResource).Get(key.GroupResource, key.Namespace, key.Name)
}

// latest is current as of now on every gateway.
func (s *Store) latest(ctx context.Context, key proto.Key) (*statelog.Entry, error) {
	if _, err := s.backend.Log.Barrier(ctx, key.GroupResource); err != nil {
		return nil, err
	}
	return s.current(key), nil
}

// decode gives an entry's object with its resourceVersion.
func (s *Store) decode(e *statelog.Entry) (runtime.Object, error) {
	if !s.kind.Sealed || s.backend.Sealer == nil {
		return s.kind.Codec.Decode(e.JSON())
	}
	document, err := s.document(e)
	if err != nil {
		return nil, err
	}
	obj, err := s.kind.Codec.Decode(document)
	if err != nil {
		return nil, err
	}
	return obj, setRevision(obj, e.Revision())
}

// document is the canonical form that an entry was made of.
func (s *Store) document(e *statelog.Entry) ([]byte, error) {
	if !s.kind.Sealed || s.backend.Sealer == nil {
		return e.Data(), nil
	}
	return s.backend.Sealer.Open(e.Key(), e.Data())
}

// stored is what the log keeps of a document.
func (s *Store) stored(key proto.Key, document []byte) ([]byte, error) {
	if !s.kind.Sealed || s.backend.Sealer == nil {
		return document, nil
	}
	return s.backend.Sealer.Seal(key, document)
}

func setRevision(obj runtime.Object, revision uint64) error {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("setting the resourceVersion: %w", err)
	}
	accessor.SetResourceVersion(strconv.FormatUint(revision, 10))
	return nil
}

// change is one compare-and-set with its retries.
type change struct {
	key           proto.Key
	preconditions *metav1.Preconditions
	// orCreate calls apply with a nil entry when there is no object, rather than
	// failing with NotFound.
	orCreate bool
	dryRun   bool
	// apply makes the new object of the existing one, which is its own; entry is
	// what existing was decoded of. It runs again when another write came first.
	apply func(existing runtime.Object, entry *statelog.Entry) (runtime.Object, error)
	// first, if not nil, gives what is committed before the object that apply made.
	first func() []statelog.Write
	// again, if not nil, is told how an attempt failed that another one follows.
	again func(err error)
}

func (c change) repeats(err error) {
	if c.again != nil {
		c.again(err)
	}
}

// write carries out a change and gives the object as written.
func (s *Store) write(ctx context.Context, c change) (runtime.Object, error) {
	entry, fresh := s.current(c.key), false
	for {
		obj, same, failure := s.attempt(ctx, c, entry)
		next, done, err := s.settle(ctx, c.key, entry, fresh, same, failure)
		if done {
			return obj, err
		}
		c.repeats(failure)
		entry, fresh = next, true
	}
}

// settle decides whether an attempt on entry was the last one, and gives the
// version for the next. What failed, or found nothing to do, on a version that
// may be old is believed only when a barrier shows that it was not.
func (s *Store) settle(ctx context.Context, key proto.Key, entry *statelog.Entry, fresh, same bool, err error) (next *statelog.Entry, done bool, _ error) {
	var conflict *statelog.ConflictError
	switch {
	case errors.As(err, &conflict) && conflict.Key == key && !withoutRetry(ctx):
		return conflict.Current, ctx.Err() != nil, ctx.Err()
	case conflict != nil && conflict.Key != key && s.hooks.BeginUpdate != nil && !withoutRetry(ctx):
		return s.current(key), ctx.Err() != nil, ctx.Err() // the hook chooses anew
	case errors.Is(err, statelog.ErrUnavailable):
		return nil, true, err // it may have been done, so what is there now may be its own doing
	case fresh, withoutRetry(ctx) && isWriteError(err), err == nil && !same, errors.Is(err, errDeleteNow), errors.Is(err, errEmptied):
		return nil, true, err
	}
	latest, barrierErr := s.latest(ctx, key)
	if barrierErr != nil {
		return nil, true, fmt.Errorf("%w: whether it still is so cannot be found out: %w", statelog.ErrUnavailable, barrierErr)
	}
	return latest, latest == entry, err
}

type withoutRetryKey struct{}

// WithoutRetry makes a lost race an error at once: for the members of an atomic
// group, each of which may commit only once.
func WithoutRetry(ctx context.Context) context.Context {
	return context.WithValue(ctx, withoutRetryKey{}, true)
}

func withoutRetry(ctx context.Context) bool { return ctx.Value(withoutRetryKey{}) != nil }

// isWriteError says that err came of a commit, not of deciding what to commit.
func isWriteError(err error) bool {
	var conflict *statelog.ConflictError
	var quota *statelog.QuotaError
	return errors.As(err, &conflict) || errors.As(err, &quota) || errors.Is(err, statelog.ErrAborted) || errors.Is(err, statelog.ErrFenced) ||
		errors.Is(err, statelog.ErrUnavailable) || errors.Is(err, statelog.ErrTooLarge)
}

// attempt tries a change on one version. same says that it would change nothing.
func (s *Store) attempt(ctx context.Context, c change, entry *statelog.Entry) (_ runtime.Object, same bool, _ error) {
	existing := s.kind.Codec.New()
	var expect uint64
	since := s.since(c.key)
	if entry != nil {
		decoded, err := s.decode(entry)
		if err != nil {
			return nil, false, apierrors.NewInternalError(err)
		}
		existing, expect = decoded, entry.Revision()
	} else if !c.orCreate {
		return nil, false, apierrors.NewNotFound(s.named(ctx), c.key.Name)
	}
	if err := s.checkPreconditions(ctx, c, existing); err != nil {
		return nil, false, err
	}
	obj, err := c.apply(existing, entry)
	if err != nil {
		return obj, false, err
	}
	if c.dryRun {
		return obj, false, s.kind.Settle(obj)
	}
	document, err := s.kind.Document(obj)
	if err != nil {
		return nil, false, apierrors.NewInternalError(err)
	}
	if entry != nil {
		before, err := s.document(entry)
		if err != nil {
			return nil, false, apierrors.NewInternalError(err)
		}
		if bytes.Equal(before, document) {
			return obj, true, setRevision(obj, entry.Revision())
		}
	}
	data, err := s.stored(c.key, document)
	if err != nil {
		return nil, false, apierrors.NewInternalError(err)
	}
	w := statelog.Write{Key: c.key, Expect: expect, Data: data, TTL: s.kind.TTL, Strict: s.hooks.BeginCreate != nil, Since: since}
	if c.first != nil {
		w.First = c.first()
	}
	revision, err := s.backend.Log.Commit(ctx, w)
	if err != nil {
		return nil, false, err
	}
	return obj, false, setRevision(obj, revision)
}

func (s *Store) checkPreconditions(ctx context.Context, c change, existing runtime.Object) error {
	if c.preconditions == nil {
		return nil
	}
	accessor, err := meta.Accessor(existing)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if uid := c.preconditions.UID; uid != nil && *uid != accessor.GetUID() {
		return s.preconditionFailed(ctx, c.key, "UID", string(*uid), string(accessor.GetUID()))
	}
	if rv := c.preconditions.ResourceVersion; rv != nil && *rv != accessor.GetResourceVersion() {
		return s.preconditionFailed(ctx, c.key, "ResourceVersion", *rv, accessor.GetResourceVersion())
	}
	return nil
}

// preconditionFailed says it as upstream's storage does.
func (s *Store) preconditionFailed(ctx context.Context, key proto.Key, what, want, got string) error {
	return apierrors.NewConflict(s.named(ctx), key.Name,
		fmt.Errorf("Precondition failed: %s in precondition: %v, %s in object meta: %v", what, want, what, got))
}

// remove deletes the object at whatever version it has, if preconditions and
// validate agree. It gives the final state, which apply may still change, under
// the revision of the deletion.
func (s *Store) remove(ctx context.Context, c change, validate func(context.Context, runtime.Object) error) (runtime.Object, error) {
	entry, fresh := s.current(c.key), false
	for {
		obj, failure := s.attemptRemove(ctx, c, entry, validate)
		next, done, err := s.settle(ctx, c.key, entry, fresh, false, failure)
		if done {
			return obj, err
		}
		c.repeats(failure)
		entry, fresh = next, true
	}
}

func (s *Store) attemptRemove(ctx context.Context, c change, entry *statelog.Entry, validate func(context.Context, runtime.Object) error) (runtime.Object, error) {
	if entry == nil {
		return nil, apierrors.NewNotFound(s.named(ctx), c.key.Name)
	}
	obj, err := s.decode(entry)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if err := s.checkPreconditions(ctx, c, obj); err != nil {
		return nil, err
	}
	if validate != nil {
		if err := validate(ctx, obj); err != nil {
			return nil, err
		}
	}
	data := entry.Data()
	if c.apply != nil {
		if obj, err = c.apply(obj, entry); err != nil {
			return nil, err
		}
		document, err := s.kind.Document(obj)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		if data, err = s.stored(c.key, document); err != nil {
			return nil, apierrors.NewInternalError(err)
		}
	}
	if c.dryRun {
		return obj, nil
	}
	commit := s.backend.Log.Commit
	if s.hooks.Remove != nil {
		commit = s.hooks.Remove
	}
	revision, err := commit(ctx, statelog.Write{Key: c.key, Expect: entry.Revision(), Data: data, Delete: true})
	if err != nil {
		return nil, err
	}
	return obj, setRevision(obj, revision)
}
