package garbage

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// mostAbsent is how many UIDs are remembered, as many as upstream does.
const mostAbsent = 500

// absent are the UIDs of owners that the API itself does not have. A UID never comes
// back, so it is asked for once.
type absent struct {
	mu   sync.Mutex
	uids map[string]bool
}

// ask tells how an owner stands that the view does not show. The view may be behind for
// it alone: the log keeps the newest version of an object only, so who reads it late
// sees a dependent before an owner that was changed meanwhile.
func (a *absent) ask(ctx context.Context, read func(ctx context.Context, path string) ([]byte, error), path, uid string) (standing, error) {
	if a.known(uid) {
		return dangling, nil
	}
	body, err := read(ctx, path)
	if apierrors.IsNotFound(err) {
		a.note(uid)
		return dangling, nil
	}
	if err != nil {
		return unknown, fmt.Errorf("looking for an owner: %w", err)
	}
	var owner metav1.PartialObjectMetadata
	if err := json.Unmarshal(body, &owner); err != nil {
		return unknown, fmt.Errorf("looking for an owner: %w", err)
	}
	switch {
	case owner.UID != types.UID(uid):
		a.note(uid)
		return dangling, nil
	case owner.DeletionTimestamp != nil && slices.Contains(owner.Finalizers, metav1.FinalizerDeleteDependents):
		return waitingOn, nil
	}
	return solid, nil
}

func (a *absent) known(uid string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.uids[uid]
}

func (a *absent) note(uid string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.uids) >= mostAbsent || a.uids == nil {
		a.uids = map[string]bool{}
	}
	a.uids[uid] = true
}
