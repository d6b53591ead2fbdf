package endpoint

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

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
	if err := apply(ctx, c.world, c.writer, service.Namespace, planSlices(service, pods, node, slicesOf(c.world, key, sliceManager), changed)); err != nil {
		c.events.Warning(event.Object{GroupVersionKind: serviceKind, Meta: service}, "FailedToUpdateEndpointSlices",
			"Error updating Endpoint Slices for Service %s/%s: %v", service.Namespace, service.Name, err)
		return 0, err
	}
	return 0, nil
}
