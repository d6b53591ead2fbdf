// Package replicaset keeps as many pods of each ReplicaSet as its spec wishes.
//
//	       fewer than wished            more than wished
//	(create) <---------- [ counting ] ----------> (delete)
//	    |                     ^                      |
//	    +---- own writes seen in the mirror ---------+
//
// Never one pod too many: after writing, a reconcile waits until the mirror shows
// what it wrote, so the next one counts it; and a pod's name is chosen here, so a
// create whose outcome is unknown is sent again under the same name. Semantics,
// events and conditions are those of upstream's ReplicaSet controller.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/claim"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// Controller reconciles ReplicaSets.
type Controller struct {
	world  *mirror.World
	writer *write.Client
	events *event.Recorder
	logger *zap.Logger
	queue  *queue.Queue[types.NamespacedName]
}

// New returns a controller that hears of changes in world.
func New(world *mirror.World, writer *write.Client, events *event.Recorder, logger *zap.Logger) *Controller {
	c := &Controller{world, writer, events, logger, queue.New[types.NamespacedName]()}
	world.ReplicaSets.Handle(func(old, new *appsv1.ReplicaSet) {
		if new != nil {
			c.add(new)
		} else {
			c.add(old)
		}
	})
	world.Pods.Handle(c.podChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) error {
	c.queue.Run(ctx, workers, c.logger, c.reconcile)
	return nil
}

func (c *Controller) add(set *appsv1.ReplicaSet) {
	c.queue.Add(types.NamespacedName{Namespace: set.Namespace, Name: set.Name})
}

// podChanged wakes the owner of a pod, before and after, or all who may want an orphan.
func (c *Controller) podChanged(old, new *corev1.Pod) {
	var before, after *metav1.OwnerReference
	if old != nil {
		before = metav1.GetControllerOfNoCopy(old)
		c.wake(old.Namespace, before)
	}
	if new != nil {
		after = metav1.GetControllerOfNoCopy(new)
		if before == nil || after == nil || before.UID != after.UID {
			c.wake(new.Namespace, after)
		}
	}
	if new == nil || after != nil || new.DeletionTimestamp != nil {
		return
	}
	if old != nil && before == nil && equality.Semantic.DeepEqual(old.Labels, new.Labels) {
		return
	}
	for _, set := range c.world.ReplicaSets.List(new.Namespace) {
		selector, err := claim.Selector(set.Spec.Selector)
		if err == nil && selector.Matches(labels.Set(new.Labels)) {
			c.add(set)
		}
	}
}

func (c *Controller) wake(namespace string, owner *metav1.OwnerReference) {
	if owner != nil && owner.Kind == kind.Kind {
		c.queue.Add(types.NamespacedName{Namespace: namespace, Name: owner.Name})
	}
}

func (c *Controller) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	set := c.world.ReplicaSets.Get(key.Namespace, key.Name)
	if set == nil {
		return 0, nil
	}
	selector, err := claim.Selector(set.Spec.Selector)
	if err != nil {
		return 0, errors.Join(queue.ErrDrop, fmt.Errorf("replica set %s: %w", key, err))
	}
	owner := claim.Owner{Object: set, Kind: kind, Path: write.Path("apps", "v1", set.Namespace, "replicasets", set.Name), Selector: selector}
	pods := c.pods(set)
	owned, err := claim.Settle(ctx, c.writer, owner, c.children(), claim.Of(owner, active(pods)))
	if err != nil {
		return 0, err
	}
	owned = active(owned)
	todo := scale(set, owned, c.related(set), time.Now())
	failed, scaleErr := c.apply(ctx, set, todo)
	if !todo.none() { // the mirror shows it by now, so the status can tell of it
		pods = c.pods(set)
		owned = claim.Of(owner, active(pods)).Owned
	}
	now := time.Now()
	next := status(set, owned, terminating(set, selector, pods), failed, now)
	if err := c.report(ctx, set, next); err != nil {
		return 0, errors.Join(scaleErr, err)
	}
	if scaleErr != nil {
		return 0, scaleErr
	}
	if set.Spec.MinReadySeconds > 0 && next.ReadyReplicas != next.AvailableReplicas {
		if wait := nextCheck(set, owned, now); wait > 0 {
			return wait, nil
		}
		return time.Duration(set.Spec.MinReadySeconds) * time.Second, nil
	}
	return 0, nil
}

// children are what a set claims.
func (c *Controller) children() claim.Children[corev1.Pod] {
	return claim.Children[corev1.Pod]{Name: "pod", Mirror: c.world.Pods, Path: func(namespace, name string) string {
		return write.Path("", "v1", namespace, "pods", name)
	}}
}

// pods are those of the set and those of nobody in its namespace.
func (c *Controller) pods(set *appsv1.ReplicaSet) []*corev1.Pod {
	return append(c.world.Pods.ByIndex(mirror.ByController, string(set.UID)), c.world.Pods.ByIndex(mirror.ByOrphanage, set.Namespace)...)
}

// related are the pods of all ReplicaSets under the same owner.
func (c *Controller) related(set *appsv1.ReplicaSet) []*corev1.Pod {
	owner := metav1.GetControllerOfNoCopy(set)
	if owner == nil {
		return nil
	}
	var all []*corev1.Pod
	for _, sibling := range c.world.ReplicaSets.ByIndex(mirror.ByController, string(owner.UID)) {
		all = append(all, c.world.Pods.ByIndex(mirror.ByController, string(sibling.UID))...)
	}
	return all
}

// report writes the status when it differs.
func (c *Controller) report(ctx context.Context, set *appsv1.ReplicaSet, next appsv1.ReplicaSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, next) {
		return nil
	}
	update := set.DeepCopy()
	update.TypeMeta = metav1.TypeMeta{APIVersion: kind.GroupVersion().String(), Kind: kind.Kind}
	update.Status = next
	request, err := write.Update(write.Path("apps", "v1", set.Namespace, "replicasets", set.Name, "status"), update)
	if err != nil {
		return err
	}
	body, err := c.writer.One(ctx, request)
	if err != nil {
		return fmt.Errorf("updating status: %w", err)
	}
	return c.world.ReplicaSets.WaitRevision(ctx, write.Revision(body))
}

func (c *Controller) object(set *appsv1.ReplicaSet) event.Object {
	return event.Object{GroupVersionKind: kind, Meta: set}
}

// discounted is what remove waits for: the pod of that UID is a replica no more.
func discounted(uid types.UID) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p == nil || p.UID != uid || !pod.Active(p) }
}
