// Package deployment rolls Deployments out: it decides which ReplicaSets exist and
// how many replicas each has. decide is the whole of it, a pure function with
// upstream's semantics; the Controller fetches, writes and records. A deployment may
// ask for canaries and for going back by itself (canary.go, docs/canary.md).
//
//	template changed                  new set full, old ones empty
//	 ---> (rolling) -- step after step, as sets report --> (complete)
//	        |  no progress within progressDeadlineSeconds     |
//	        +--> (timed out) -- any progress --> (rolling)    | replicas changed
//	 paused: sizes follow, templates wait          (complete) <+ resize in proportion
//
//	template changed, with canaries        promoted
//	 ---> (tried, beside the old set) ------------> (rolling)
//	        |  no progress, and auto-revert            | no progress, and auto-revert
//	        +-----> the old template again <-----------+
package deployment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/claim"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// Controller rolls Deployments out.
func Controller() frame.Definition {
	return frame.Definition{Name: "deployment", User: "deployment-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		c := newController(e)
		return frame.Keyed(e, c.reconcile,
			frame.On(e.World.Deployments, frame.Self),
			frame.Owned(e.World.ReplicaSets, e.World.Deployments, func(d *appsv1.Deployment) (labels.Selector, error) { return claim.Selector(d.Spec.Selector) }),
			frame.On(e.World.Pods, c.podChanged)), nil
	}}
}

type controller struct {
	world       *mirror.World
	writer      *write.Client
	events      *event.Recorder
	deployments frame.Objects[appsv1.Deployment]
	sets        frame.Objects[appsv1.ReplicaSet]
}

func newController(e *frame.Env) *controller {
	return &controller{e.World, e.Writer, e.Events, frame.Of(e, e.World.Deployments), frame.Of(e, e.World.ReplicaSets)}
}

// podChanged wakes a deployment that waits for its last old pod to end.
func (c *controller) podChanged(old, new *corev1.Pod, add func(types.NamespacedName)) {
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
		add(frame.KeyOf(d))
	}
}

func (c *controller) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	d := c.world.Deployments.Get(key.Namespace, key.Name)
	if d == nil {
		return 0, nil
	}
	selector, err := claim.Selector(d.Spec.Selector)
	if err != nil {
		return 0, errors.Join(queue.ErrDrop, fmt.Errorf("deployment %s: %w", key, err))
	}
	owner := claim.Owner{Object: d, Kind: kind, Path: c.world.Deployments.Path(d.Namespace, d.Name), Selector: selector}
	sets, err := claim.Settle(ctx, c.writer, owner, c.world.ReplicaSets, claim.Of(owner, c.world.ReplicaSets.List(d.Namespace)))
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

// apply writes the plan: sets first, then the deployment, so that the status never
// promises what failed. It returns once the mirror shows it all.
func (c *controller) apply(ctx context.Context, d *appsv1.Deployment, next plan) error {
	if err := c.writeSets(ctx, d, next); err != nil {
		return err
	}
	if next.Spec != nil {
		if _, err := c.deployments.Update(ctx, next.Spec); err != nil {
			return fmt.Errorf("updating deployment: %w", err)
		}
	}
	if next.Status != nil {
		if err := c.report(ctx, next.Status); err != nil {
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

func (c *controller) writeSets(ctx context.Context, d *appsv1.Deployment, next plan) error {
	var changes []frame.Change[appsv1.ReplicaSet]
	if next.Create != nil {
		changes = append(changes, frame.Creating(next.Create))
	}
	for _, set := range next.Update {
		changes = append(changes, frame.Updating(set))
	}
	for _, set := range next.Delete {
		changes = append(changes, frame.Deleting(set, nil))
	}
	errs, err := c.sets.Do(ctx, changes...)
	if err != nil {
		return err
	}
	for i := range errs {
		switch {
		case errs[i] != nil && i == 0 && next.Create != nil:
			errs[i] = c.createFailed(ctx, d, next.Create, errs[i])
		case i >= len(changes)-len(next.Delete) && apierrors.IsNotFound(errs[i]):
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

// createFailed tells a collision of hashes, which the next try avoids, from a set
// that is ours after all and from a refusal, which the deployment's condition shows.
func (c *controller) createFailed(ctx context.Context, d *appsv1.Deployment, set *appsv1.ReplicaSet, refusal error) error {
	switch {
	case apierrors.HasStatusCause(refusal, corev1.NamespaceTerminatingCause):
		return refusal
	case apierrors.IsAlreadyExists(refusal):
		body, err := c.writer.Read(ctx, c.world.ReplicaSets.Path(d.Namespace, set.Name))
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
		return errors.Join(refusal, c.report(ctx, update))
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
	return errors.Join(refusal, c.report(ctx, update))
}

func (c *controller) report(ctx context.Context, d *appsv1.Deployment) error {
	if _, err := c.deployments.UpdateStatus(ctx, d); err != nil {
		return fmt.Errorf("updating deployment: %w", err)
	}
	return nil
}

func object(d *appsv1.Deployment) event.Object {
	return event.Object{GroupVersionKind: kind, Meta: d}
}
