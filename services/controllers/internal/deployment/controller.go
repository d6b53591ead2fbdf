// Package deployment rolls Deployments out: it decides which ReplicaSets exist and
// how many replicas each has. decide is the whole of it, a pure function with
// upstream's semantics; the Controller fetches, writes and records.
//
//	template changed                  new set full, old ones empty
//	 ---> (rolling) -- step after step, as sets report --> (complete)
//	        |  no progress within progressDeadlineSeconds     |
//	        +--> (timed out) -- any progress --> (rolling)    | replicas changed
//	 paused: sizes follow, templates wait          (complete) <+ resize in proportion
package deployment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/claim"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// Controller reconciles Deployments.
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
	world.Deployments.Handle(func(old, new *appsv1.Deployment) {
		if new == nil {
			new = old
		}
		c.queue.Add(types.NamespacedName{Namespace: new.Namespace, Name: new.Name})
	})
	world.ReplicaSets.Handle(c.setChanged)
	world.Pods.Handle(c.podChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) error {
	c.queue.Run(ctx, workers, c.logger, c.reconcile)
	return nil
}

// setChanged wakes the owner, before and after, or all who may want an orphan.
func (c *Controller) setChanged(old, new *appsv1.ReplicaSet) {
	for _, set := range []*appsv1.ReplicaSet{old, new} {
		if set == nil {
			continue
		}
		if owner := metav1.GetControllerOfNoCopy(set); owner != nil && owner.Kind == kind.Kind {
			c.queue.Add(types.NamespacedName{Namespace: set.Namespace, Name: owner.Name})
		}
	}
	if new == nil || metav1.GetControllerOfNoCopy(new) != nil || len(new.Labels) == 0 {
		return
	}
	for _, d := range c.world.Deployments.List(new.Namespace) {
		if selector, err := claim.Selector(d.Spec.Selector); err == nil && selector.Matches(labels.Set(new.Labels)) {
			c.queue.Add(types.NamespacedName{Namespace: d.Namespace, Name: d.Name})
		}
	}
}

// podChanged wakes a deployment that waits for its last old pod to end.
func (c *Controller) podChanged(old, new *corev1.Pod) {
	if new != nil || old == nil {
		return
	}
	owner := metav1.GetControllerOfNoCopy(old)
	if owner == nil || owner.Kind != "ReplicaSet" {
		return
	}
	set := c.world.ReplicaSets.Get(old.Namespace, owner.Name)
	if set == nil || set.UID != owner.UID {
		return
	}
	owner = metav1.GetControllerOfNoCopy(set)
	if owner == nil {
		return
	}
	d := c.world.Deployments.Get(set.Namespace, owner.Name)
	if d != nil && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		c.queue.Add(types.NamespacedName{Namespace: d.Namespace, Name: d.Name})
	}
}

func (c *Controller) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	d := c.world.Deployments.Get(key.Namespace, key.Name)
	if d == nil {
		return 0, nil
	}
	selector, err := claim.Selector(d.Spec.Selector)
	if err != nil {
		return 0, errors.Join(queue.ErrDrop, fmt.Errorf("deployment %s: %w", key, err))
	}
	owner := claim.Owner{Object: d, Kind: kind, Path: path(d.Namespace, "deployments", d.Name), Selector: selector}
	sets, err := claim.Settle(ctx, c.writer, owner, c.sets(), claim.Of(owner, c.world.ReplicaSets.List(d.Namespace)))
	if err != nil {
		return 0, err
	}
	world := observed{Deployment: d, Sets: sets}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		world.Pods = map[types.UID][]*corev1.Pod{}
		for _, set := range sets {
			world.Pods[set.UID] = c.world.Pods.ByIndex(mirror.ByController, string(set.UID))
		}
	}
	next := decide(world, time.Now())
	if err := c.apply(ctx, d, next); err != nil {
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return 0, nil
		}
		return 0, err
	}
	return next.Again, nil
}

// sets are what a deployment claims.
func (c *Controller) sets() claim.Children[appsv1.ReplicaSet] {
	return claim.Children[appsv1.ReplicaSet]{Name: "replica set", Mirror: c.world.ReplicaSets, Path: func(namespace, name string) string {
		return path(namespace, "replicasets", name)
	}}
}

// apply writes the plan: sets first, then the deployment, so that the status never
// promises what failed. It returns once the mirror shows it all.
func (c *Controller) apply(ctx context.Context, d *appsv1.Deployment, next plan) error {
	var requests []apiclient.Request
	add := func(request apiclient.Request, err error) error {
		if err == nil {
			requests = append(requests, request)
		}
		return err
	}
	if next.Create != nil {
		if err := add(write.Create(path(d.Namespace, "replicasets"), next.Create)); err != nil {
			return err
		}
	}
	for _, set := range next.Update {
		set.TypeMeta = metav1.TypeMeta{APIVersion: "apps/v1", Kind: "ReplicaSet"}
		if err := add(write.Update(path(d.Namespace, "replicasets", set.Name), set)); err != nil {
			return err
		}
	}
	for _, set := range next.Delete {
		if err := add(write.Delete(path(d.Namespace, "replicasets", set.Name), &metav1.DeleteOptions{Preconditions: write.OnlyUID(set.UID)})); err != nil {
			return err
		}
	}
	if len(requests) > 0 {
		if err := c.writeSets(ctx, d, next, requests); err != nil {
			return err
		}
	}
	if next.Spec != nil {
		if err := c.writeDeployment(ctx, next.Spec, path(d.Namespace, "deployments", d.Name)); err != nil {
			return err
		}
	}
	if next.Status != nil {
		if err := c.writeDeployment(ctx, next.Status, path(d.Namespace, "deployments", d.Name, "status")); err != nil {
			return err
		}
	}
	for _, note := range next.Events {
		if note.Warning {
			c.events.Warning(object(d), note.Reason, "%s", note.Message)
		} else {
			c.events.Normal(object(d), note.Reason, "%s", note.Message)
		}
	}
	return nil
}

func (c *Controller) writeSets(ctx context.Context, d *appsv1.Deployment, next plan, requests []apiclient.Request) error {
	results, err := c.writer.Do(ctx, requests...)
	if err != nil {
		return err
	}
	var newest uint64
	var errs []error
	for i, result := range results {
		switch {
		case result.Err == nil && requests[i].Method != "DELETE":
			newest = max(newest, write.Revision(result.Body))
		case result.Err == nil || requests[i].Method == "DELETE" && apierrors.IsNotFound(result.Err):
		case i == 0 && next.Create != nil:
			errs = append(errs, c.createFailed(ctx, d, next.Create, result.Err))
		default:
			errs = append(errs, result.Err)
		}
	}
	if err := c.world.ReplicaSets.WaitRevision(ctx, newest); err != nil {
		return err
	}
	for _, set := range next.Delete {
		err := c.world.ReplicaSets.WaitFor(ctx, set.Namespace, set.Name, func(present *appsv1.ReplicaSet) bool {
			return present == nil || present.UID != set.UID || present.DeletionTimestamp != nil || errs != nil
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

// createFailed tells a collision of hashes, which the next try avoids, from a set
// that is ours after all and from a refusal, which the deployment's condition shows.
func (c *Controller) createFailed(ctx context.Context, d *appsv1.Deployment, set *appsv1.ReplicaSet, refusal error) error {
	switch {
	case apierrors.HasStatusCause(refusal, corev1.NamespaceTerminatingCause):
		return refusal
	case apierrors.IsAlreadyExists(refusal):
		body, err := c.writer.Read(ctx, path(d.Namespace, "replicasets", set.Name))
		if err != nil {
			return fmt.Errorf("reading replica set that exists already: %w", err)
		}
		var present appsv1.ReplicaSet
		if err := json.Unmarshal(body, &present); err != nil {
			return fmt.Errorf("reading replica set that exists already: %w", err)
		}
		if metav1.IsControlledBy(&present, d) && sameTemplate(&present.Spec.Template, &d.Spec.Template) {
			if err := c.world.ReplicaSets.WaitRevision(ctx, write.Revision(body)); err != nil {
				return err
			}
			return refusal // the mirror has it by now, so the next try finds it
		}
		update := d.DeepCopy()
		collisions := int32(1)
		if d.Status.CollisionCount != nil {
			collisions += *d.Status.CollisionCount
		}
		update.Status.CollisionCount = &collisions
		return errors.Join(refusal, c.writeDeployment(ctx, update, path(d.Namespace, "deployments", d.Name, "status")))
	}
	message := fmt.Sprintf("Failed to create new replica set %q: %v", set.Name, refusal)
	c.events.Warning(object(d), reasonSetCreateError, "%s", message)
	if !hasDeadline(d) {
		return refusal
	}
	update := d.DeepCopy()
	setCondition(&update.Status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonSetCreateError, message, time.Now()))
	if present := condition(&d.Status, appsv1.DeploymentProgressing); present != nil && present.Reason == reasonSetCreateError {
		return refusal
	}
	return errors.Join(refusal, c.writeDeployment(ctx, update, path(d.Namespace, "deployments", d.Name, "status")))
}

func (c *Controller) writeDeployment(ctx context.Context, d *appsv1.Deployment, path string) error {
	d.TypeMeta = metav1.TypeMeta{APIVersion: "apps/v1", Kind: kind.Kind}
	request, err := write.Update(path, d)
	if err != nil {
		return err
	}
	body, err := c.writer.One(ctx, request)
	if err != nil {
		return fmt.Errorf("updating deployment: %w", err)
	}
	return c.world.Deployments.WaitRevision(ctx, write.Revision(body))
}

func path(namespace, resource string, name ...string) string {
	return write.Path("apps", "v1", namespace, resource, name...)
}

func object(d *appsv1.Deployment) event.Object {
	return event.Object{GroupVersionKind: kind, Meta: d}
}
