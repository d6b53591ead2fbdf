package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/controllers/internal/claim"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// Store reads and writes the revisions of a controller's objects.
type Store struct {
	mirror  *mirror.Kind[appsv1.ControllerRevision]
	objects frame.Objects[appsv1.ControllerRevision]
	writer  *write.Client
}

// New returns a store for the term.
func New(e *frame.Env) *Store {
	revisions := e.World.ControllerRevisions
	revisions.Index(mirror.ByOrphanage, func(r *appsv1.ControllerRevision) []string {
		if metav1.GetControllerOfNoCopy(r) != nil {
			return nil
		}
		return []string{r.Namespace}
	})
	return &Store{revisions, frame.Of(e, revisions), e.Writer}
}

// Claim gives the revisions that are the owner's and whose labels its selector
// names, having taken orphans among them. With release the others are let go.
func (s *Store) Claim(ctx context.Context, owner claim.Owner, release bool) ([]*appsv1.ControllerRevision, error) {
	all := append(s.mirror.ByIndex(mirror.ByController, string(owner.GetUID())), s.mirror.ByIndex(mirror.ByOrphanage, owner.GetNamespace())...)
	found := claim.Of(owner, all)
	if !release {
		found.Release = nil
	}
	return claim.Settle(ctx, s.writer, owner, s.mirror, found)
}

// Create writes a new revision. Where there is one of the name already, that is
// returned if it brings back the same template; if not, collision is true.
func (s *Store) Create(ctx context.Context, r *appsv1.ControllerRevision) (created *appsv1.ControllerRevision, collision bool, err error) {
	created, err = s.objects.Create(ctx, r)
	if !apierrors.IsAlreadyExists(err) {
		return created, false, err
	}
	body, err := s.writer.Read(ctx, s.mirror.Path(r.Namespace, r.Name))
	if err != nil {
		return nil, false, fmt.Errorf("reading revision that exists already: %w", err)
	}
	var present appsv1.ControllerRevision
	if err := json.Unmarshal(body, &present); err != nil {
		return nil, false, fmt.Errorf("reading revision that exists already: %w", err)
	}
	if !Same(&present, r) {
		return nil, true, nil
	}
	return &present, false, s.mirror.WaitRevision(ctx, write.Revision(body))
}

// Update writes what changed of a revision: its number or its labels.
func (s *Store) Update(ctx context.Context, r *appsv1.ControllerRevision) (*appsv1.ControllerRevision, error) {
	return s.objects.Update(ctx, r)
}

// Delete deletes revisions; that one is gone already is no error.
func (s *Store) Delete(ctx context.Context, revisions []*appsv1.ControllerRevision) error {
	changes := make([]frame.Change[appsv1.ControllerRevision], len(revisions))
	for i, r := range revisions {
		changes[i] = frame.Deleting(r, nil)
	}
	errs, err := s.objects.Do(ctx, changes...)
	for i := range errs {
		if apierrors.IsNotFound(errs[i]) {
			errs[i] = nil
		}
	}
	return errors.Join(errors.Join(errs...), err)
}
