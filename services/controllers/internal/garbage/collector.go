// Package garbage deletes what has lost its last owner, in the background or, where
// an owner is deleted in the foreground, before that owner; and lets dependents go
// where an owner is deleted with the orphan policy.
//
//	owner gone ----------------------> dependent deleted
//	owner deleting, foregroundDeletion -> dependents deleted -> finalizer removed
//	owner deleting, orphan -----------> references removed --> finalizer removed
//
// Whether an owner exists is read from the log's view at the moment of deciding; of one
// that is not there the API itself is asked before anything is deleted (owner.go).
package garbage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/feed"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/write"
)

// Controller is the garbage collector.
func Controller() frame.Definition {
	return frame.Definition{Name: "garbagecollector", User: "generic-garbage-collector", Component: "garbage-collector-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		c := &collector{feed: e.Feed, graph: newGraph(), writer: e.Writer, events: e.Events}
		c.queue = frame.Keyed(e, c.reconcile)
		e.Feed.Subscribe(c)
		return c, nil
	}}
}

type collector struct {
	feed   *feed.Feed
	graph  *graph
	writer *write.Client
	events *event.Recorder
	queue  *frame.Queue[key]
	absent absent
}

// key asks for one object, or for all dependents of one, to be looked at.
type key struct {
	uid      string
	children bool
}

// Run implements frame.Loop, once all kinds are known.
func (c *collector) Run(ctx context.Context, workers int) error {
	select {
	case <-c.feed.Synced():
	case <-ctx.Done():
		return nil
	}
	return c.queue.Run(ctx, workers)
}

// Replace implements feed.Subscriber.
func (c *collector) Replace(resource *feed.Resource, content statelog.Snapshot) {
	for _, n := range c.graph.of(resource.GroupResource) {
		if entry := content.Get(n.key.Namespace, n.key.Name); entry == nil || entry.ParseMeta().UID != n.uid {
			c.enqueue(c.graph.remove(n.uid))
		}
	}
	content.Ascend("", func(entry *statelog.Entry) bool {
		c.enqueue(c.graph.put(nodeOf(resource, entry)))
		return true
	})
}

// Change implements feed.Subscriber.
func (c *collector) Change(resource *feed.Resource, e statelog.Event) {
	if e.Type == statelog.Deleted {
		c.enqueue(c.graph.remove(e.Entry.ParseMeta().UID))
		return
	}
	c.enqueue(c.graph.put(nodeOf(resource, e.Entry)))
}

// Catalog implements feed.Subscriber: owners of kinds unknown before may be known now.
func (c *collector) Catalog(*feed.Catalog) {
	for _, uid := range c.graph.all() {
		c.queue.Add(key{uid: uid})
	}
}

func (c *collector) enqueue(w work) {
	for _, uid := range w.items {
		c.queue.Add(key{uid: uid})
	}
	for _, uid := range w.children {
		c.queue.Add(key{uid: uid, children: true})
	}
}

func (c *collector) reconcile(ctx context.Context, k key) (time.Duration, error) {
	if k.children {
		return 0, c.collect(ctx, c.graph.children(k.uid))
	}
	n := c.graph.get(k.uid)
	if n == nil {
		return 0, nil
	}
	return 0, c.collect(ctx, []*node{n})
}

// collect decides on each object and sends what can go together as one. An object
// whose write fails comes back by itself.
func (c *collector) collect(ctx context.Context, nodes []*node) error {
	var requests []apiclient.Request
	var about []*node
	var errs []error
	for _, n := range nodes {
		var unsure error
		s := decide(n, func(ref *statelog.OwnerReference) standing {
			stands, err := c.stand(ctx, n, ref)
			unsure = errors.Join(unsure, err)
			return stands
		}, c.graph.children(n.uid))
		if unsure != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.key, unsure))
			continue
		}
		if s.WakeChildren {
			c.queue.Add(key{uid: n.uid, children: true})
		}
		request, err := c.carryOut(ctx, n, s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.key, err))
		}
		if request != nil {
			requests, about = append(requests, *request), append(about, n)
		}
	}
	if len(requests) == 0 {
		return errors.Join(errs...)
	}
	results, err := c.writer.Do(ctx, requests...)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for i, result := range results {
		if result.Err == nil || apierrors.IsNotFound(result.Err) {
			continue
		}
		if len(results) == 1 {
			errs = append(errs, fmt.Errorf("%s: %w", about[i].key, result.Err))
			continue
		}
		c.queue.Add(key{uid: about[i].uid})
	}
	return errors.Join(errs...)
}

// carryOut does what must come first and returns the one write that ends the step.
func (c *collector) carryOut(ctx context.Context, n *node, s step) (*apiclient.Request, error) {
	switch {
	case s.Misplaced != nil:
		c.reportMisplaced(n, s.Misplaced)
		return nil, nil
	case len(s.Drop) > 0:
		return c.patchOwners(n, s.Drop)
	case s.Delete != "":
		if s.Unblock {
			if err := c.unblock(ctx, n); err != nil {
				return nil, err
			}
		}
		return c.deletion(n, s.Delete, !s.Unblock)
	case s.RemoveFinalizer != "":
		if err := c.release(ctx, n, s.Release); err != nil {
			return nil, err
		}
		return c.patchFinalizers(n, s.RemoveFinalizer)
	}
	return nil, nil
}

// stand looks the owner up in the view, and one that is not there in the API.
func (c *collector) stand(ctx context.Context, n *node, ref *statelog.OwnerReference) (standing, error) {
	resource := c.feed.Catalog().ByKind(ref.APIVersion, ref.Kind)
	if resource == nil || !feed.InView(resource.GroupResource) {
		return unknown, nil
	}
	namespace := ""
	if resource.Namespaced {
		if namespace = n.key.Namespace; namespace == "" {
			return misplaced, nil
		}
	}
	entry := c.feed.Snapshot(resource.GroupResource).Get(namespace, ref.Name)
	if entry == nil || entry.ParseMeta().UID != ref.UID {
		return c.absent.ask(ctx, c.writer.Read, write.Path(resource.Group, resource.Version, namespace, resource.Resource, ref.Name), ref.UID)
	}
	if owner := nodeOf(resource, entry); owner.waits() {
		return waitingOn, nil
	}
	return solid, nil
}

// entry is the object as it is now; nil when it is another one or gone.
func (c *collector) entry(n *node) *statelog.Entry {
	entry := c.feed.Snapshot(n.key.GroupResource).Get(n.key.Namespace, n.key.Name)
	if entry == nil || entry.ParseMeta().UID != n.uid {
		return nil
	}
	return entry
}

func (c *collector) deletion(n *node, policy metav1.DeletionPropagation, unchanged bool) (*apiclient.Request, error) {
	entry := c.entry(n)
	if entry == nil {
		return nil, nil
	}
	preconditions := write.OnlyUID(types.UID(n.uid))
	if unchanged { // a new owner may have come in between
		revision := strconv.FormatUint(entry.Revision(), 10)
		preconditions.ResourceVersion = &revision
	}
	request, err := write.Delete(n.path(), &metav1.DeleteOptions{Preconditions: preconditions, PropagationPolicy: &policy})
	return &request, err
}

// patchOwners takes references off, on the condition that the object is unchanged.
func (c *collector) patchOwners(n *node, owners []string) (*apiclient.Request, error) {
	return c.patch(n, func(meta *metav1.ObjectMeta) map[string]any {
		kept := []metav1.OwnerReference{}
		for _, ref := range meta.OwnerReferences {
			if !contains(owners, string(ref.UID)) {
				kept = append(kept, ref)
			}
		}
		if len(kept) == len(meta.OwnerReferences) {
			return nil
		}
		return map[string]any{"ownerReferences": kept}
	})
}

func (c *collector) patchFinalizers(n *node, remove string) (*apiclient.Request, error) {
	return c.patch(n, func(meta *metav1.ObjectMeta) map[string]any {
		kept := []string{}
		for _, finalizer := range meta.Finalizers {
			if finalizer != remove {
				kept = append(kept, finalizer)
			}
		}
		if len(kept) == len(meta.Finalizers) {
			return nil
		}
		return map[string]any{"finalizers": kept}
	})
}

// patch builds a merge patch of the metadata; nil when there is nothing to change.
func (c *collector) patch(n *node, change func(*metav1.ObjectMeta) map[string]any) (*apiclient.Request, error) {
	entry := c.entry(n)
	if entry == nil {
		return nil, nil
	}
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(entry.Data(), &object); err != nil {
		return nil, fmt.Errorf("decoding metadata: %w", err)
	}
	fields := change(&object.ObjectMeta)
	if fields == nil {
		return nil, nil
	}
	fields["uid"] = n.uid
	fields["resourceVersion"] = strconv.FormatUint(entry.Revision(), 10)
	request, err := write.Merge(n.path(), map[string]any{"metadata": fields})
	return &request, err
}

// unblock makes the references of n non-blocking, so that two objects that wait
// for each other can both go.
func (c *collector) unblock(ctx context.Context, n *node) error {
	request, err := c.patch(n, func(meta *metav1.ObjectMeta) map[string]any {
		changed := false
		no := false
		for i := range meta.OwnerReferences {
			if block := meta.OwnerReferences[i].BlockOwnerDeletion; block != nil && *block {
				meta.OwnerReferences[i].BlockOwnerDeletion = &no
				changed = true
			}
		}
		if !changed {
			return nil
		}
		return map[string]any{"ownerReferences": meta.OwnerReferences}
	})
	if err != nil || request == nil {
		return err
	}
	_, err = c.writer.One(ctx, *request)
	return err
}

// release takes the reference to n off its dependents.
func (c *collector) release(ctx context.Context, n *node, dependents []*node) error {
	var requests []apiclient.Request
	for _, dependent := range dependents {
		request, err := c.patchOwners(dependent, []string{n.uid})
		if err != nil {
			return err
		}
		if request != nil {
			requests = append(requests, *request)
		}
	}
	results, err := c.writer.Do(ctx, requests...)
	if err != nil {
		return fmt.Errorf("letting dependents go: %w", err)
	}
	for _, result := range results {
		if result.Err != nil && !apierrors.IsNotFound(result.Err) {
			return fmt.Errorf("letting dependents go: %w", result.Err)
		}
	}
	return nil
}

func (c *collector) reportMisplaced(n *node, ref *statelog.OwnerReference) {
	gvk := schema.GroupVersionKind{Group: n.resource.Group, Version: n.resource.Version, Kind: n.resource.Kind}
	about := event.Object{GroupVersionKind: gvk, Meta: &metav1.ObjectMeta{Namespace: n.key.Namespace, Name: n.key.Name, UID: types.UID(n.uid)}}
	c.events.Warning(about, "OwnerRefInvalidNamespace", "ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q",
		ref.APIVersion, ref.Kind, n.key.Namespace, ref.Name, ref.UID, n.key.Namespace)
}

func (n *node) path() string {
	return write.Path(n.resource.Group, n.resource.Version, n.key.Namespace, n.resource.Resource, n.key.Name)
}

func contains(list []string, value string) bool {
	for _, each := range list {
		if each == value {
			return true
		}
	}
	return false
}
