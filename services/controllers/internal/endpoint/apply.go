package endpoint

import (
	"context"
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
)

// slicesOf are the slices of a service that one manager keeps, by name.
func slicesOf(world *mirror.World, key types.NamespacedName, manager string) []*discoveryv1.EndpointSlice {
	var found []*discoveryv1.EndpointSlice
	for _, slice := range world.EndpointSlices.ByIndex(mirror.ByService, key.String()) {
		if slice.Labels[discoveryv1.LabelManagedBy] == manager && slice.DeletionTimestamp == nil {
			found = append(found, slice)
		}
	}
	slices.SortFunc(found, func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// apply writes a plan in one request and waits until the world shows it.
func apply(ctx context.Context, objects frame.Objects[discoveryv1.EndpointSlice], plan slicePlan) error {
	var changes []frame.Change[discoveryv1.EndpointSlice]
	for _, slice := range plan.Create {
		changes = append(changes, frame.Creating(slice))
	}
	for _, slice := range plan.Update {
		changes = append(changes, frame.Updating(slice))
	}
	for _, slice := range plan.Delete {
		changes = append(changes, frame.Deleting(slice, nil))
	}
	errs, err := objects.Do(ctx, changes...)
	if err != nil {
		return err
	}
	for i := range errs {
		deleted := i >= len(plan.Create)+len(plan.Update)
		if deleted && apierrors.IsNotFound(errs[i]) || apierrors.HasStatusCause(errs[i], corev1.NamespaceTerminatingCause) {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}
