package deployment

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/write"
)

// claims says which sets the deployment has, and which it is to take or let go.
type claims struct {
	Owned, Adopt, Release []*appsv1.ReplicaSet
}

func claim(d *appsv1.Deployment, selector labels.Selector, sets []*appsv1.ReplicaSet) claims {
	var c claims
	for _, set := range sets {
		matches := selector.Matches(labels.Set(set.Labels))
		owner := metav1.GetControllerOfNoCopy(set)
		switch {
		case owner != nil && owner.UID != d.UID: // somebody else's
		case owner != nil && matches:
			c.Owned = append(c.Owned, set)
		case d.DeletionTimestamp != nil:
		case owner != nil:
			c.Release = append(c.Release, set)
		case matches && set.DeletionTimestamp == nil:
			c.Adopt = append(c.Adopt, set)
		}
	}
	return c
}

// settle adopts and releases, and returns the deployment's sets as the mirror then shows them.
func (c *Controller) settle(ctx context.Context, d *appsv1.Deployment, found claims) ([]*appsv1.ReplicaSet, error) {
	if len(found.Adopt)+len(found.Release) == 0 {
		return found.Owned, nil
	}
	if len(found.Adopt) > 0 {
		if err := c.writer.MayAdopt(ctx, "Deployment", path(d.Namespace, "deployments", d.Name), d); err != nil {
			return nil, err
		}
	}
	sets := append(append([]*appsv1.ReplicaSet(nil), found.Adopt...), found.Release...)
	requests := make([]apiclient.Request, len(sets))
	for i, set := range sets {
		reference := any(metav1.NewControllerRef(d, kind))
		if i >= len(found.Adopt) {
			reference = map[string]any{"$patch": "delete", "uid": d.UID}
		}
		request, err := write.Strategic(path(set.Namespace, "replicasets", set.Name), map[string]any{
			"metadata": map[string]any{"uid": set.UID, "ownerReferences": []any{reference}},
		})
		if err != nil {
			return nil, err
		}
		requests[i] = request
	}
	results, err := c.writer.Do(ctx, requests...)
	if err != nil {
		return nil, fmt.Errorf("adopting and releasing replica sets: %w", err)
	}
	var errs []error
	var newest uint64
	for i, result := range results {
		switch released := i >= len(found.Adopt); {
		case result.Err == nil:
			newest = max(newest, write.Revision(result.Body))
		case apierrors.IsNotFound(result.Err), released && apierrors.IsInvalid(result.Err):
		default:
			errs = append(errs, fmt.Errorf("claiming replica set %s: %w", sets[i].Name, result.Err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := c.world.ReplicaSets.WaitRevision(ctx, newest); err != nil {
		return nil, err
	}
	var owned []*appsv1.ReplicaSet
	for _, set := range append(found.Owned, found.Adopt...) {
		if present := c.world.ReplicaSets.Get(set.Namespace, set.Name); present != nil && metav1.IsControlledBy(present, d) {
			owned = append(owned, present)
		}
	}
	return owned, nil
}
