//lint:file-ignore SA1019 Endpoints are deprecated, and kept for those who still write them.

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

// Mirrored keeps the EndpointSlices that show the Endpoints of services without a
// selector: what a user wrote there reaches proxies and DNS, which read slices.
func Mirrored() frame.Definition {
	return frame.Definition{
		Name: "endpointslicemirroring", User: "endpointslicemirroring-controller", Component: "endpoint-slice-mirroring-controller",
		Make: func(e *frame.Env) (frame.Loop, error) {
			c := &mirroredController{e.World, frame.Of(e, e.World.EndpointSlices), e.Events}
			return frame.Keyed(e, c.reconcile,
				frame.On(e.World.Services, func(old, new *corev1.Service, add func(types.NamespacedName)) {
					if old == nil || new == nil || selects(old) != selects(new) {
						frame.Self(old, new, add)
					}
				}),
				frame.On(e.World.Endpoints, frame.Self),
				frame.On(e.World.EndpointSlices, sliceOf(mirrorManager))), nil
		},
	}
}

type mirroredController struct {
	world  *mirror.World
	slices frame.Objects[discoveryv1.EndpointSlice]
	events *event.Recorder
}

func (c *mirroredController) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	endpoints := c.world.Endpoints.Get(key.Namespace, key.Name)
	if !mirrored(c.world.Services.Get(key.Namespace, key.Name), endpoints) {
		endpoints = nil
	}
	plan, skip := planMirror(endpoints, slicesOf(c.world, key, mirrorManager))
	if err := apply(ctx, c.slices, plan); err != nil {
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
