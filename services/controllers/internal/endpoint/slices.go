package endpoint

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/endpointslice/topologycache"

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
			c := &slicesController{
				world: e.World, slices: frame.Of(e, e.World.EndpointSlices), events: e.Events, triggers: newTriggers(),
				hints: newHints(func() []*corev1.Node { return e.World.Nodes.List("") }),
			}
			c.queue = frame.Keyed(e, c.reconcile, members(e.World), frame.On(e.World.EndpointSlices, sliceOf(sliceManager)), frame.On(e.World.Nodes, c.nodeChanged))
			return c.queue, nil
		},
	}
}

type slicesController struct {
	world    *mirror.World
	slices   frame.Objects[discoveryv1.EndpointSlice]
	events   *event.Recorder
	triggers *triggers
	hints    *hints
	queue    *frame.Queue[types.NamespacedName]
}

// allShares is the key under which services are looked for that nodes made unfair.
var allShares = types.NamespacedName{}

func (c *slicesController) nodeChanged(old, new *corev1.Node, add func(types.NamespacedName)) {
	if c.hints.nodeChanged(old, new) {
		add(allShares)
	}
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
	if key == allShares {
		for _, service := range c.hints.Unfair(c.world.Services.List("")) {
			c.queue.Add(frame.KeyOf(service))
		}
		return 0, nil
	}
	service := c.world.Services.Get(key.Namespace, key.Name)
	if service == nil {
		c.triggers.forget(key)
		c.hints.Forget(key.Namespace, key.Name, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
		return 0, nil
	}
	if !selects(service) {
		return 0, nil
	}
	pods := selected(c.world, service)
	changed := c.triggers.latest(service, pods)
	node := func(name string) *corev1.Node { return c.world.Nodes.Get("", name) }
	plan := planSlices(service, pods, node, slicesOf(c.world, key, sliceManager), changed, c.hints)
	err := apply(ctx, c.slices, plan)
	for _, n := range plan.Notes {
		c.note(service, n)
	}
	if err != nil {
		c.events.Warning(event.Object{GroupVersionKind: serviceKind, Meta: service}, "FailedToUpdateEndpointSlices",
			"Error updating Endpoint Slices for Service %s/%s: %v", service.Namespace, service.Name, err)
		return 0, err
	}
	return 0, nil
}

func (c *slicesController) note(service *corev1.Service, n *topologycache.EventBuilder) {
	of := event.Object{GroupVersionKind: serviceKind, Meta: service}
	if n.EventType == corev1.EventTypeWarning {
		c.events.Warning(of, n.Reason, "%s", n.Message)
		return
	}
	c.events.Normal(of, n.Reason, "%s", n.Message)
}
