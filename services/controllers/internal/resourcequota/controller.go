package resourcequota

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/feed"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
)

// settle is how long a namespace must be quiet before what admission charged is
// compared with what is there.
const settle = time.Second

// look is one quota to be counted, at once or when its namespace is quiet.
type look struct {
	types.NamespacedName
	Settled bool
}

type controller struct {
	world  *mirror.World
	views  *statelog.Views
	feed   *feed.Feed
	quotas frame.Objects[corev1.ResourceQuota]
	queue  *frame.Queue[look]

	mu   sync.Mutex
	busy map[string]time.Time // namespaces, and when something was last made or charged there
}

// Controller counts what quotas limit.
func Controller() frame.Definition {
	return frame.Definition{Name: "resourcequota", User: "resourcequota-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		c := &controller{
			world: e.World, views: e.Views, feed: e.Feed, quotas: frame.Of(e, e.World.ResourceQuotas),
			busy: map[string]time.Time{},
		}
		c.queue = frame.Keyed(e, c.reconcile,
			frame.On(e.World.ResourceQuotas, c.quotaChanged),
			// Before all that read them.
			frame.On(e.World.DeviceClasses, func(_, _ *resourcev1.DeviceClass, add func(look)) { c.wake("", c.ofDevices, false, add) }),
			changes(c, e.World.Pods, podFreed, ofPods),
			changes(c, e.World.Services, serviceFreed, ofServices),
			changes(c, e.World.PersistentVolumeClaims, claimFreed, ofClaims),
			changes(c, e.World.ResourceClaims, func(old, new *resourcev1.ResourceClaim) bool { return false }, c.ofDevices),
			c.leases(),
		)
		e.Feed.Subscribe(c)
		return c.queue, nil
	}}
}

// quotaChanged wakes a quota: at once where its status does not follow from its spec,
// and when all is quiet where the numbers alone may be wrong.
func (c *controller) quotaChanged(old, new *corev1.ResourceQuota, add func(look)) {
	if new == nil {
		return
	}
	key := frame.KeyOf(new)
	if old == nil || outdated(new) || !equality.Semantic.DeepEqual(old.Spec, new.Spec) {
		add(look{key, false})
		return
	}
	c.touch(new.Namespace)
	add(look{key, true})
}

// changes wakes the quotas that limit what of tells, for each change of a kind: at
// once where something is freed, later where something was made.
func changes[T any](c *controller, kind *mirror.Kind[T], freed func(old, new *T) bool, of func(corev1.ResourceName) bool) frame.Trigger[look] {
	return frame.On(kind, func(old, new *T, add func(look)) {
		switch {
		case new == nil:
			c.wake(namespaceOf(old), of, false, add)
		case old == nil:
			c.touch(namespaceOf(new))
			c.wake(namespaceOf(new), of, true, add)
		case freed(old, new):
			c.wake(namespaceOf(new), of, false, add)
		}
	})
}

// wake adds the quotas of a namespace, or of all, that limit something of a kind.
func (c *controller) wake(namespace string, of func(corev1.ResourceName) bool, settled bool, add func(look)) {
	for _, quota := range c.world.ResourceQuotas.List(namespace) {
		for name := range quota.Spec.Hard {
			if of(name) {
				add(look{frame.KeyOf(quota), settled})
				break
			}
		}
	}
}

func (c *controller) ofDevices(name corev1.ResourceName) bool {
	return deviceMeter(holding{c, ""}).of(name)
}

func (c *controller) touch(namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy[namespace] = time.Now()
}

// quiet is how long a namespace has yet to be left alone.
func (c *controller) quiet(namespace string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := settle - time.Since(c.busy[namespace])
	if left <= 0 {
		delete(c.busy, namespace)
	}
	return left
}

func (c *controller) reconcile(ctx context.Context, key look) (time.Duration, error) {
	quota := c.world.ResourceQuotas.Get(key.Namespace, key.Name)
	if quota == nil {
		return 0, nil
	}
	if key.Settled {
		if left := c.quiet(key.Namespace); left > 0 {
			return left, nil
		}
	}
	status, again, failed := count(quota, holding{c, key.Namespace}, time.Now())
	if !outdated(quota) && equal(status.Used, quota.Status.Used) {
		return again, failed
	}
	next := quota.DeepCopy()
	next.Status = status
	if _, err := c.quotas.UpdateStatus(ctx, next); err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("writing what is used: %w", err)
	}
	return again, failed
}
