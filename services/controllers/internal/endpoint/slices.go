package endpoint

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
)

var serviceKind = corev1.SchemeGroupVersion.WithKind("Service")

// Slices keeps the EndpointSlices of services with a selector.
func Slices() frame.Definition {
	return frame.Definition{
		Name: "endpointslice", User: "endpointslice-controller", Component: "endpoint-slice-controller",
		Make: func(e *frame.Env) (frame.Loop, error) {
			c := &slicesController{e.World, frame.Of(e, e.World.EndpointSlices), e.Events, newTriggers()}
			return frame.Keyed(e, c.reconcile, members(e.World), frame.On(e.World.EndpointSlices, sliceOf(sliceManager))), nil
		},
	}
}

type slicesController struct {
	world    *mirror.World
	slices   frame.Objects[discoveryv1.EndpointSlice]
	events   *event.Recorder
	triggers *triggers
}

// sliceOf wakes the service of a slice that a manager keeps.
func sliceOf(manager string) func(old, new *discoveryv1.EndpointSlice, add func(types.NamespacedName)) {
	return func(old, new *discoveryv1.EndpointSlice, add func(types.NamespacedName)) {
		for _, slice := range []*discoveryv1.EndpointSlice{old, new} {
			if slice == nil || slice.Labels[discoveryv1.LabelManagedBy] != manager {
				continue
			}
			if service := slice.Labels[discoveryv1.LabelServiceName]; service != "" {
				add(types.NamespacedName{Namespace: slice.Namespace, Name: service})
			}
		}
	}
}

func (c *slicesController) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	service := c.world.Services.Get(key.Namespace, key.Name)
	if service == nil {
		c.triggers.forget(key)
		return 0, nil
	}
	if !selects(service) {
		return 0, nil
	}
	pods := selected(c.world, service)
	changed := c.triggers.latest(service, pods)
	node := func(name string) *corev1.Node { return c.world.Nodes.Get("", name) }
	if err := apply(ctx, c.slices, planSlices(service, pods, node, slicesOf(c.world, key, sliceManager), changed)); err != nil {
		c.events.Warning(event.Object{GroupVersionKind: serviceKind, Meta: service}, "FailedToUpdateEndpointSlices",
			"Error updating Endpoint Slices for Service %s/%s: %v", service.Namespace, service.Name, err)
		return 0, err
	}
	return 0, nil
}
