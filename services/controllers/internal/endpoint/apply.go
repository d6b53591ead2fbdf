package endpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
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
func apply(ctx context.Context, world *mirror.World, writer *write.Client, namespace string, plan slicePlan) error {
	var requests []apiclient.Request
	for _, slice := range append(slices.Clone(plan.Create), plan.Update...) {
		slice.TypeMeta = metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}
		var request apiclient.Request
		var err error
		if slice.Name == "" {
			request, err = write.Create(slicePath(namespace), slice)
		} else {
			request, err = write.Update(slicePath(namespace, slice.Name), slice)
		}
		if err != nil {
			return err
		}
		requests = append(requests, request)
	}
	for _, slice := range plan.Delete {
		request, err := write.Delete(slicePath(namespace, slice.Name), &metav1.DeleteOptions{Preconditions: write.OnlyUID(slice.UID)})
		if err != nil {
			return err
		}
		requests = append(requests, request)
	}
	if len(requests) == 0 {
		return nil
	}
	results, err := writer.Do(ctx, requests...)
	if err != nil {
		return err
	}
	var newest uint64
	var errs []error
	for i, result := range results {
		switch deleted := i >= len(plan.Create)+len(plan.Update); {
		case result.Err == nil && !deleted:
			newest = max(newest, write.Revision(result.Body))
		case result.Err == nil, deleted && apierrors.IsNotFound(result.Err):
		case apierrors.HasStatusCause(result.Err, corev1.NamespaceTerminatingCause):
		default:
			errs = append(errs, fmt.Errorf("%s %s: %w", strings.ToLower(requests[i].Method), requests[i].Path, result.Err))
		}
	}
	if err := world.EndpointSlices.WaitRevision(ctx, newest); err != nil {
		return err
	}
	return errors.Join(errs...)
}

func slicePath(namespace string, name ...string) string {
	return write.Path("discovery.k8s.io", "v1", namespace, "endpointslices", name...)
}
