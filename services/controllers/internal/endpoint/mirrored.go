//lint:file-ignore SA1019 Endpoints are deprecated, and kept for those who still write them.

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

// Mirrored keeps the EndpointSlices that show the Endpoints of services without a
// selector: what a user wrote there reaches proxies and DNS, which read slices.
type Mirrored struct {
	world  *mirror.World
	writer *write.Client
	events *event.Recorder
	logger *zap.Logger
	queue  *queue.Queue[types.NamespacedName]
}

// NewMirrored returns a controller that hears of changes in world.
func NewMirrored(world *mirror.World, writer *write.Client, events *event.Recorder, logger *zap.Logger) *Mirrored {
	c := &Mirrored{world, writer, events, logger, queue.New[types.NamespacedName]()}
	world.Services.Handle(func(old, new *corev1.Service) {
		if old == nil || new == nil || selects(old) != selects(new) {
			c.queue.Add(nameOf(old, new))
		}
	})
	world.Endpoints.Handle(func(old, new *corev1.Endpoints) {
		if new == nil {
			new = old
		}
		c.queue.Add(types.NamespacedName{Namespace: new.Namespace, Name: new.Name})
	})
	world.EndpointSlices.Handle(func(old, new *discoveryv1.EndpointSlice) {
		for _, slice := range []*discoveryv1.EndpointSlice{old, new} {
			if slice != nil && slice.Labels[discoveryv1.LabelManagedBy] == mirrorManager {
				c.queue.Add(types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]})
			}
		}
	})
	return c
}

func nameOf(old, new *corev1.Service) types.NamespacedName {
	if new == nil {
		new = old
	}
	return types.NamespacedName{Namespace: new.Namespace, Name: new.Name}
}

// Run reconciles until ctx ends.
func (c *Mirrored) Run(ctx context.Context, workers int) error {
	c.queue.Run(ctx, workers, c.logger, c.reconcile)
	return nil
}

func (c *Mirrored) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	endpoints := c.world.Endpoints.Get(key.Namespace, key.Name)
	if !mirrored(c.world.Services.Get(key.Namespace, key.Name), endpoints) {
		endpoints = nil
	}
	plan, skip := planMirror(endpoints, slicesOf(c.world, key, mirrorManager))
	if err := apply(ctx, c.world, c.writer, key.Namespace, plan); err != nil {
		return 0, err
	}
	if about := (event.Object{GroupVersionKind: endpointsKind, Meta: endpoints}); plan.changes() && skip.invalid > 0 {
		c.events.Warning(about, "InvalidIPAddress", "Skipped %d invalid IP addresses when mirroring to EndpointSlices", skip.invalid)
	} else if plan.changes() && skip.tooMany > 0 {
		c.events.Warning(about, "TooManyAddressesToMirror",
			"A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", mirrorMost, skip.tooMany)
	}
	return 0, nil
}
