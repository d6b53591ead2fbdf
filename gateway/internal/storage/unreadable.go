package storage

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// GetCorruptObjDeleter is upstream's rest.CorruptObjectDeleterProvider, for deletions
// with ignoreStoreReadErrorWithClusterBreakingPotential.
func (s *Store) GetCorruptObjDeleter() rest.GracefulDeleter { return unreadable{s} }

// unreadable takes objects out of the log that cannot be read, such as Secrets whose
// sealing key is lost: no finalizer, grace period or admission has a say. What can be
// read it refuses to delete.
type unreadable struct{ store *Store }

var errReadable = errors.New("unsafe deletion is not allowed because the object is decodable from storage")

// Delete is upstream's rest.GracefulDeleter. The object is nil: nobody can tell what it was.
func (u unreadable) Delete(ctx context.Context, name string, _ rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	s := u.store
	key, err := s.key(ctx, name)
	if err != nil {
		return nil, false, err
	}
	for {
		entry, err := s.latest(ctx, key)
		if err != nil {
			return nil, false, apiError(err, s.named(ctx), name)
		}
		if entry == nil {
			return nil, false, apierrors.NewNotFound(s.named(ctx), name)
		}
		if _, err := s.decode(entry); err == nil {
			return nil, false, apierrors.NewConflict(s.named(ctx), name, errReadable)
		}
		if dryrun.IsDryRun(options.DryRun) {
			return nil, true, nil
		}
		var conflict *statelog.ConflictError
		switch err := u.remove(ctx, key, entry.Revision()); {
		case errors.As(err, &conflict) && ctx.Err() == nil && !withoutRetry(ctx):
		case err != nil:
			return nil, false, apiError(err, s.named(ctx), name)
		default:
			return nil, true, nil
		}
	}
}

// remove writes a tombstone that watchers can read: it says no more than the name.
func (u unreadable) remove(ctx context.Context, key proto.Key, revision uint64) error {
	namespace := ""
	if key.Namespace != "" {
		namespace = fmt.Sprintf(`,"namespace":%q`, key.Namespace)
	}
	document := fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,"metadata":{"name":%q%s}}`, u.store.kind.GVK.Kind, u.store.kind.GVK.GroupVersion(), key.Name, namespace)
	data, err := u.store.stored(key, document)
	if err != nil {
		return err
	}
	commit := u.store.backend.Log.Commit
	if u.store.hooks.Remove != nil {
		commit = u.store.hooks.Remove
	}
	_, err = commit(ctx, statelog.Write{Key: key, Expect: revision, Data: data, Delete: true})
	return err
}
