// Package namespace empties namespaces that are being deleted: first all pods, then
// everything else, and at last the finalizer "kubernetes", upon which the gateway
// removes the namespace itself.
//
//	deleted --> (terminating) -- pods gone --> (rest goes) -- all gone --> finalized
//	              conditions say what remains and why
//
// Nothing waits on a clock: each object that disappears wakes its namespace.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/feed"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

// Controller reconciles namespaces that are being deleted.
type Controller struct {
	world  *mirror.World
	feed   *feed.Feed
	writer *write.Client
	logger *zap.Logger
	queue  *queue.Queue[string]

	mu   sync.Mutex
	sent map[string]map[string]bool // namespace, UIDs whose deletion was asked for and accepted
}

// New returns a controller that hears of changes in world and from f.
func New(world *mirror.World, f *feed.Feed, writer *write.Client, logger *zap.Logger) *Controller {
	c := &Controller{world: world, feed: f, writer: writer, logger: logger, queue: queue.New[string](), sent: map[string]map[string]bool{}}
	world.Namespaces.Handle(func(_, new *corev1.Namespace) {
		if new != nil && new.DeletionTimestamp != nil {
			c.queue.Add(new.Name)
		}
	})
	f.Subscribe(c)
	return c
}

// Run reconciles until ctx ends, once all kinds are known.
func (c *Controller) Run(ctx context.Context, workers int) error {
	select {
	case <-c.feed.Synced():
	case <-ctx.Done():
		return nil
	}
	c.queue.Run(ctx, workers, c.logger, c.reconcile)
	return nil
}

// Replace implements feed.Subscriber.
func (c *Controller) Replace(*feed.Resource, statelog.Snapshot) { c.wakeAll() }

// Catalog implements feed.Subscriber.
func (c *Controller) Catalog(*feed.Catalog) { c.wakeAll() }

// Change implements feed.Subscriber.
func (c *Controller) Change(resource *feed.Resource, e statelog.Event) {
	if !resource.Namespaced {
		return
	}
	name := e.Entry.Key().Namespace
	if ns := c.world.Namespaces.Get("", name); ns != nil && ns.DeletionTimestamp != nil {
		c.queue.Add(name)
	}
}

func (c *Controller) wakeAll() {
	for _, ns := range c.world.Namespaces.List("") {
		if ns.DeletionTimestamp != nil {
			c.queue.Add(ns.Name)
		}
	}
}

func (c *Controller) reconcile(ctx context.Context, name string) (time.Duration, error) {
	ns := c.world.Namespaces.Get("", name)
	if ns == nil || ns.DeletionTimestamp == nil || len(ns.Spec.Finalizers) == 0 {
		c.forget(name)
		return 0, nil
	}
	if ns.Status.Phase != corev1.NamespaceTerminating {
		update := ns.DeepCopy()
		update.Status.Phase = corev1.NamespaceTerminating
		if err := c.write(ctx, update, "status"); err != nil {
			return 0, err
		}
		if ns = c.world.Namespaces.Get("", name); ns == nil || ns.UID != update.UID {
			return 0, nil
		}
	}
	left := c.empty(ctx, ns)
	if next, changed := conditions(ns.Status.Conditions, left, time.Now()); changed && len(left.Resources)+len(left.Errors) > 0 {
		update := ns.DeepCopy()
		update.Status.Conditions = next
		if err := c.write(ctx, update, "status"); err != nil {
			return 0, err
		}
		ns = update
	}
	if err := errors.Join(append(left.Errors, left.Discovery)...); err != nil {
		return 0, err
	}
	if len(left.Resources) > 0 {
		return 0, nil // whatever goes next wakes us
	}
	if len(withoutOurs(ns.Spec.Finalizers)) == len(ns.Spec.Finalizers) {
		return 0, nil // somebody else's finalizers
	}
	update := c.world.Namespaces.Get("", name)
	if update == nil {
		return 0, nil
	}
	update = update.DeepCopy()
	update.Spec.Finalizers = withoutOurs(update.Spec.Finalizers)
	return 0, c.write(ctx, update, "finalize")
}

// empty asks for the deletion of what is there, pods first, and tells what remains.
func (c *Controller) empty(ctx context.Context, ns *corev1.Namespace) remains {
	left := newRemains()
	catalog := c.feed.Catalog()
	if len(catalog.Resources) == 0 {
		left.Discovery = errors.New("nothing is known of what the API serves")
		return left
	}
	var pods, rest []*feed.Resource
	for i := range catalog.Resources {
		resource := &catalog.Resources[i]
		switch {
		case !resource.Namespaced || !resource.Can("delete"):
		case resource.GroupResource == mirror.PodResource:
			pods = append(pods, resource)
		default:
			rest = append(rest, resource)
		}
	}
	c.remove(ctx, ns.Name, pods, &left)
	if len(left.Resources)+len(left.Errors) == 0 {
		c.remove(ctx, ns.Name, rest, &left)
	}
	return left
}

// remove deletes the objects of some collections and counts those that are still there.
func (c *Controller) remove(ctx context.Context, namespace string, resources []*feed.Resource, left *remains) {
	var requests []apiclient.Request
	var uids []string
	policy := metav1.DeletePropagationBackground
	for _, resource := range resources {
		if !feed.InView(resource.GroupResource) { // kept in a stream we do not follow
			if resource.Can("deletecollection") {
				request, err := write.Delete(write.Path(resource.Group, resource.Version, namespace, resource.Resource), &metav1.DeleteOptions{PropagationPolicy: &policy})
				if err != nil {
					left.Errors = append(left.Errors, err)
					continue
				}
				requests, uids = append(requests, request), append(uids, "")
			}
			continue
		}
		gr := schema.GroupResource{Group: resource.Group, Resource: resource.Resource}
		c.feed.Snapshot(resource.GroupResource).Ascend(namespace, func(entry *statelog.Entry) bool {
			meta := entry.Meta()
			left.Resources[gr]++
			for _, finalizer := range meta.Finalizers {
				left.Finalizers[finalizer]++
			}
			if meta.DeletionTimestamp != "" || c.asked(namespace, meta.UID) {
				return true
			}
			request, err := write.Delete(write.Path(resource.Group, resource.Version, namespace, resource.Resource, entry.Key().Name),
				&metav1.DeleteOptions{PropagationPolicy: &policy, Preconditions: write.OnlyUID(types.UID(meta.UID))})
			if err != nil {
				left.Errors = append(left.Errors, err)
				return true
			}
			requests, uids = append(requests, request), append(uids, meta.UID)
			return true
		})
	}
	results, err := c.writer.Do(ctx, requests...)
	if err != nil {
		left.Errors = append(left.Errors, err)
		return
	}
	for i, result := range results {
		switch {
		case result.Err == nil && uids[i] != "":
			c.ask(namespace, uids[i])
		case result.Err == nil, apierrors.IsNotFound(result.Err), apierrors.IsConflict(result.Err), apierrors.IsMethodNotSupported(result.Err):
		default:
			left.Errors = append(left.Errors, fmt.Errorf("deleting %s: %w", requests[i].Path, result.Err))
		}
	}
}

func (c *Controller) asked(namespace, uid string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent[namespace][uid]
}

func (c *Controller) ask(namespace, uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent[namespace] == nil {
		c.sent[namespace] = map[string]bool{}
	}
	c.sent[namespace][uid] = true
}

func (c *Controller) forget(namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sent, namespace)
}

func (c *Controller) write(ctx context.Context, ns *corev1.Namespace, subresource string) error {
	ns.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}
	request, err := write.Update(write.Path("", "v1", "", "namespaces", ns.Name, subresource), ns)
	if err != nil {
		return err
	}
	body, err := c.writer.One(ctx, request)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("updating namespace: %w", err)
	case subresource == "finalize": // the last write may have been the end of it
		return nil
	}
	return c.world.Namespaces.WaitRevision(ctx, write.Revision(body))
}
