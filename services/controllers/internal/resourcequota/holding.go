package resourcequota

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/feed"
	"kubus.dev/services/controllers/internal/frame"
)

// holding is a namespace as the mirrors and views show it.
type holding struct {
	*controller
	namespace string
}

func (h holding) Pods() []*corev1.Pod         { return h.world.Pods.List(h.namespace) }
func (h holding) Services() []*corev1.Service { return h.world.Services.List(h.namespace) }
func (h holding) Claims() []*corev1.PersistentVolumeClaim {
	return h.world.PersistentVolumeClaims.List(h.namespace)
}
func (h holding) DeviceClaims() []*resourcev1.ResourceClaim {
	return h.world.ResourceClaims.List(h.namespace)
}
func (h holding) Classes() []*resourcev1.DeviceClass { return h.world.DeviceClasses.List("") }

func (h holding) Objects(gr proto.GroupResource) (n int64, served bool) {
	if !quotable(h.feed.Catalog(), gr) {
		return 0, false
	}
	h.views.For(gr).Snapshot(gr).Ascend(h.namespace, func(*statelog.Entry) bool {
		n++
		return true
	})
	return n, true
}

// quotable kinds are those that the API keeps in namespaces.
func quotable(catalog *feed.Catalog, gr proto.GroupResource) bool {
	for i := range catalog.Resources {
		if r := &catalog.Resources[i]; r.GroupResource == gr {
			return r.Namespaced && r.Can("create") && r.Can("list") && r.Can("watch") && r.Can("delete")
		}
	}
	return false
}

// Replace implements feed.Subscriber: a collection is told of anew.
func (c *controller) Replace(resource *feed.Resource, _ statelog.Snapshot) {
	c.wake("", counting(resource.GroupResource), false, c.queue.Add)
}

// Change implements feed.Subscriber.
func (c *controller) Change(resource *feed.Resource, event statelog.Event) {
	namespace := event.Entry.Key().Namespace
	if namespace == "" || event.Type == statelog.Modified {
		return
	}
	if event.Type == statelog.Added {
		c.touch(namespace)
	}
	c.wake(namespace, counting(resource.GroupResource), event.Type == statelog.Added, c.queue.Add)
}

// Catalog implements feed.Subscriber: a kind that is limited may be served now.
func (c *controller) Catalog(*feed.Catalog) {
	c.wake("", func(name corev1.ResourceName) bool {
		_, ok := counts(name)
		return ok
	}, false, c.queue.Add)
}

// counting is true of the names that count the objects of a collection.
func counting(gr proto.GroupResource) func(corev1.ResourceName) bool {
	return func(name corev1.ResourceName) bool {
		of, ok := counts(name)
		return ok && of == gr
	}
}

// leases tells of Leases, which are not in the stream that the feed follows.
func (c *controller) leases() frame.Trigger[look] {
	return changes(c, c.world.Leases, func(_, _ *coordinationv1.Lease) bool { return false },
		counting(proto.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}))
}
