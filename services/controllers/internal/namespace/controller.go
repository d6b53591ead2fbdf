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

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/feed"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// Controller empties and finalizes namespaces that are being deleted.
func Controller() frame.Definition {
	return frame.Definition{Name: "namespace", User: "namespace-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		c := &controller{world: e.World, namespaces: frame.Of(e, e.World.Namespaces), feed: e.Feed, writer: e.Writer, sent: map[string]map[string]bool{}}
		c.queue = frame.Keyed(e, c.reconcile, frame.On(e.World.Namespaces, func(_, new *corev1.Namespace, add func(string)) {
			if new != nil && new.DeletionTimestamp != nil {
				add(new.Name)
			}
		}))
		e.Feed.Subscribe(c)
		return c, nil
	}}
}

type controller struct {
	world      *mirror.World
	namespaces frame.Objects[corev1.Namespace]
	feed       *feed.Feed
	writer     *write.Client
	queue      *frame.Queue[string]

	mu   sync.Mutex
	sent map[string]map[string]bool // namespace, UIDs whose deletion was asked for and accepted
}

// Run implements frame.Loop, once all kinds are known.
func (c *controller) Run(ctx context.Context, workers int) error {
	select {
	case <-c.feed.Synced():
	case <-ctx.Done():
		return nil
	}
	return c.queue.Run(ctx, workers)
}

// Replace implements feed.Subscriber.
func (c *controller) Replace(*feed.Resource, statelog.Snapshot) { c.wakeAll() }

// Catalog implements feed.Subscriber.
func (c *controller) Catalog(*feed.Catalog) { c.wakeAll() }

// Change implements feed.Subscriber.
func (c *controller) Change(resource *feed.Resource, e statelog.Event) {
	if !resource.Namespaced {
		return
	}
	name := e.Entry.Key().Namespace
	if ns := c.world.Namespaces.Get("", name); ns != nil && ns.DeletionTimestamp != nil {
		c.queue.Add(name)
	}
}

func (c *controller) wakeAll() {
	for _, ns := range c.world.Namespaces.List("") {
		if ns.DeletionTimestamp != nil {
			c.queue.Add(ns.Name)
		}
	}
}

func (c *controller) reconcile(ctx context.Context, name string) (time.Duration, error) {
	ns := c.world.Namespaces.Get("", name)
	if ns == nil || ns.DeletionTimestamp == nil || len(ns.Spec.Finalizers) == 0 {
		c.forget(name)
		return 0, nil
	}
	if ns.Status.Phase != corev1.NamespaceTerminating {
		update := ns.DeepCopy()
		update.Status.Phase = corev1.NamespaceTerminating
		if err := c.report(ctx, update); err != nil {
			return 0, err
		}
		if ns = c.world.Namespaces.Get("", name); ns == nil || ns.UID != update.UID {
			return 0, nil
		}
	}
	left := c.empty(ctx, ns)
	if next, changed := conditions(ns.Status.Conditions, left, time.Now()); changed && (len(left.Resources)+len(left.Errors) > 0 || left.Discovery != nil || outlives(ns)) {
		update := ns.DeepCopy()
		update.Status.Conditions = next
		if err := c.report(ctx, update); err != nil {
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
	return 0, c.finalize(ctx, update)
}

// empty asks for the deletion of what is there, pods first, and tells what remains.
func (c *controller) empty(ctx context.Context, ns *corev1.Namespace) remains {
	left := newRemains()
	catalog := c.feed.Catalog()
	left.Discovery = undiscovered(catalog)
	var pods, rest []*feed.Resource
	for i := range catalog.Resources {
		resource := &catalog.Resources[i]
		switch {
		case !resource.Namespaced || !resource.Can("delete"):
		case resource.GroupResource == c.world.Pods.Resource():
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

// undiscovered says why there may be more in a namespace than is known of.
func undiscovered(catalog *feed.Catalog) error {
	if len(catalog.Resources) == 0 {
		return errors.New("nothing is known of what the API serves")
	}
	return catalog.Incomplete
}

// remove deletes the objects of some collections and counts those that are still there.
func (c *controller) remove(ctx context.Context, namespace string, resources []*feed.Resource, left *remains) {
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

func (c *controller) asked(namespace, uid string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent[namespace][uid]
}

func (c *controller) ask(namespace, uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent[namespace] == nil {
		c.sent[namespace] = map[string]bool{}
	}
	c.sent[namespace][uid] = true
}

func (c *controller) forget(namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sent, namespace)
}

func (c *controller) report(ctx context.Context, ns *corev1.Namespace) error {
	if _, err := c.namespaces.UpdateStatus(ctx, ns); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("updating namespace: %w", err)
	}
	return nil
}

// finalize writes the finalizers; it may be the end of the namespace, so it is not waited for.
func (c *controller) finalize(ctx context.Context, ns *corev1.Namespace) error {
	ns.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}
	request, err := write.Update(c.world.Namespaces.Path("", ns.Name, "finalize"), ns)
	if err != nil {
		return err
	}
	if _, err := c.writer.One(ctx, request); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("finalizing namespace: %w", err)
	}
	return nil
}
