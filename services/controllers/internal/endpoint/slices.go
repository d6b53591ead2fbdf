package endpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

var serviceKind = corev1.SchemeGroupVersion.WithKind("Service")

// Slices keeps the EndpointSlices of services with a selector.
type Slices struct {
	world    *mirror.World
	writer   *write.Client
	events   *event.Recorder
	logger   *zap.Logger
	queue    *queue.Queue[types.NamespacedName]
	triggers *triggers
}

// NewSlices returns a controller that hears of changes in world.
func NewSlices(world *mirror.World, writer *write.Client, events *event.Recorder, logger *zap.Logger) *Slices {
	c := &Slices{world, writer, events, logger, queue.New[types.NamespacedName](), newTriggers()}
	watch(world, c.queue.Add)
	world.EndpointSlices.Handle(func(old, new *discoveryv1.EndpointSlice) {
		for _, slice := range []*discoveryv1.EndpointSlice{old, new} {
			if slice == nil || slice.Labels[discoveryv1.LabelManagedBy] != sliceManager {
				continue
			}
			if service := slice.Labels[discoveryv1.LabelServiceName]; service != "" {
				c.queue.Add(types.NamespacedName{Namespace: slice.Namespace, Name: service})
			}
		}
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Slices) Run(ctx context.Context, workers int) error {
	c.queue.Run(ctx, workers, c.logger, c.reconcile)
	return nil
}

func (c *Slices) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	service := c.world.Services.Get(key.Namespace, key.Name)
	if service == nil {
		c.triggers.forget(key)
		return 0, nil
	}
	if !selects(service) {
		return 0, nil
	}
	pods := members(c.world, service)
	changed := c.triggers.latest(service, pods)
	node := func(name string) *corev1.Node { return c.world.Nodes.Get("", name) }
	if err := c.apply(ctx, service, planSlices(service, pods, node, c.existing(key), changed)); err != nil {
		c.events.Warning(event.Object{GroupVersionKind: serviceKind, Meta: service}, "FailedToUpdateEndpointSlices",
			"Error updating Endpoint Slices for Service %s/%s: %v", service.Namespace, service.Name, err)
		return 0, err
	}
	return 0, nil
}

func (c *Slices) existing(key types.NamespacedName) []*discoveryv1.EndpointSlice {
	var found []*discoveryv1.EndpointSlice
	for _, slice := range c.world.EndpointSlices.ByIndex(mirror.ByService, key.String()) {
		if slice.Labels[discoveryv1.LabelManagedBy] == sliceManager && slice.DeletionTimestamp == nil {
			found = append(found, slice)
		}
	}
	slices.SortFunc(found, func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
	return found
}

func (c *Slices) apply(ctx context.Context, service *corev1.Service, plan slicePlan) error {
	var requests []apiclient.Request
	for _, slice := range append(slices.Clone(plan.Create), plan.Update...) {
		slice.TypeMeta = metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}
		var request apiclient.Request
		var err error
		if slice.Name == "" {
			request, err = write.Create(slicePath(service.Namespace), slice)
		} else {
			request, err = write.Update(slicePath(service.Namespace, slice.Name), slice)
		}
		if err != nil {
			return err
		}
		requests = append(requests, request)
	}
	for _, slice := range plan.Delete {
		request, err := write.Delete(slicePath(service.Namespace, slice.Name), &metav1.DeleteOptions{Preconditions: write.OnlyUID(slice.UID)})
		if err != nil {
			return err
		}
		requests = append(requests, request)
	}
	if len(requests) == 0 {
		return nil
	}
	results, err := c.writer.Do(ctx, requests...)
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
	if err := c.world.EndpointSlices.WaitRevision(ctx, newest); err != nil {
		return err
	}
	return errors.Join(errs...)
}

func slicePath(namespace string, name ...string) string {
	return write.Path("discovery.k8s.io", "v1", namespace, "endpointslices", name...)
}
