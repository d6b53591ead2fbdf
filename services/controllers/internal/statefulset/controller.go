// Package statefulset runs pods that are somebody: each has an ordinal, and with it a
// name, claims and a place in the order of things. decide is the whole of it, a pure
// function with upstream's semantics; the controller fetches, writes and records.
//
//	                 claims made, then the pod           ready, minReadySeconds
//	(ordinal empty) --------------------------> (made) -----------------------> (available)
//	       ^                                       | failed, succeeded             |
//	       |            gone from the API          v                               | outdated, condemned
//	       +----------------------------------- (going) <--------------------------+
//
// An ordered set works on one ordinal at a time: it makes the lowest that is missing
// when all below are available, and deletes the highest that is too much, or outdated
// ones down to the partition, when all are. A parallel set does everything at once,
// and outdates no more than maxUnavailable.
//
// Promises: an ordinal never has two pods, not even across a failover: a pod is made
// only when no other of its name is in the API, and none is taken out of the API but
// by its node. A pod's claims are there before it is. A reconcile is one step: one
// request for all claims, one for all pods, whatever their number.
package statefulset

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/claim"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/history"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

var kind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")

// Controller reconciles StatefulSets.
func Controller() frame.Definition {
	return frame.Definition{Name: "statefulset", User: "statefulset-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		c := newController(e)
		return frame.Keyed(e, c.reconcile,
			frame.On(e.World.StatefulSets, frame.Self[appsv1.StatefulSet]),
			frame.Owned(e.World.Pods, e.World.StatefulSets, selectorOf),
			frame.OwnedLater(e.World.ControllerRevisions, e.World.StatefulSets, selectorOf),
			frame.On(e.World.PersistentVolumeClaims, c.claimChanged),
		), nil
	}}
}

type controller struct {
	world    *mirror.World
	sets     frame.Objects[appsv1.StatefulSet]
	pods     frame.Objects[corev1.Pod]
	claims   frame.Objects[corev1.PersistentVolumeClaim]
	history  *history.Store
	writer   *write.Client
	events   *event.Recorder
	refusals refusals
}

func newController(e *frame.Env) *controller {
	return &controller{
		world: e.World, sets: frame.Of(e, e.World.StatefulSets), pods: frame.Of(e, e.World.Pods),
		claims: frame.Of(e, e.World.PersistentVolumeClaims), history: history.New(e), writer: e.Writer, events: e.Events,
	}
}

func selectorOf(set *appsv1.StatefulSet) (labels.Selector, error) {
	return claim.Selector(set.Spec.Selector)
}

// claimChanged wakes the sets whose claim it may be: one that was in the way may be
// gone, one that is needed may be missing.
func (c *controller) claimChanged(old, new *corev1.PersistentVolumeClaim, add func(types.NamespacedName)) {
	if new == nil {
		new = old
	}
	for _, set := range c.world.StatefulSets.List(new.Namespace) {
		if claimed(set, new.Name) {
			add(frame.KeyOf(set))
		}
	}
}

func (c *controller) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	set := c.world.StatefulSets.Get(key.Namespace, key.Name)
	if set == nil {
		c.refusals.forget(key)
		return 0, nil
	}
	selector, err := selectorOf(set)
	if err != nil {
		return 0, errors.Join(queue.ErrDrop, fmt.Errorf("stateful set %s: %w", key, err))
	}
	owner := claim.Owner{Object: set, Kind: kind, Path: c.world.StatefulSets.Path(set.Namespace, set.Name), Selector: selector}
	revisions, err := c.history.Claim(ctx, owner, false)
	if err != nil {
		return 0, err
	}
	pods, err := claim.Settle(ctx, c.writer, owner, c.world.Pods, c.found(owner, set))
	if err != nil {
		return 0, err
	}
	current, latest, count, err := c.revisions(ctx, set, revisions)
	if err != nil {
		return 0, err
	}
	next, planErr := decide(observed{set, current, latest, pods, c.claimsOf(set, pods)}, time.Now())
	for _, n := range next.Events {
		c.events.Warning(object(set), n.Reason, "%s", n.Message)
	}
	if !next.none() {
		planErr = errors.Join(planErr, c.apply(ctx, set, next))
		switch {
		case errors.As(planErr, new(*mirror.Behind)): // nothing can be told from the mirror
			return 0, planErr
		case ending(planErr): // no pod can be made there any more
			planErr = nil
		}
		pods = c.found(owner, set).Owned // as the mirror shows them by now
	}
	now := time.Now()
	counted := status(set, current.Name, latest.Name, count, pods, now)
	err = errors.Join(planErr,
		c.report(ctx, set, counted),
		c.history.Delete(ctx, superfluous(set, revisions, pods, current.Name, latest.Name)))
	return pod.NextAvailable(pods, set.Spec.MinReadySeconds, now), err
}

// found sorts the set's pods and those of nobody. Only pods that bear its name are
// its own, whatever their labels say.
func (c *controller) found(owner claim.Owner, set *appsv1.StatefulSet) claim.Claims[corev1.Pod] {
	all := append(c.world.Pods.ByIndex(mirror.ByController, string(set.UID)), c.world.Pods.ByIndex(mirror.ByOrphanage, set.Namespace)...)
	var members, others []*corev1.Pod
	for _, p := range all {
		if member(set, p) {
			members = append(members, p)
		} else {
			others = append(others, p)
		}
	}
	found := claim.Of(owner, members)
	owner.Selector = labels.Nothing()
	found.Release = append(found.Release, claim.Of(owner, others).Release...)
	return found
}

// claimsOf are those of the ordinals that there are and that there should be.
func (c *controller) claimsOf(set *appsv1.StatefulSet, pods []*corev1.Pod) claims {
	out := claims{}
	if len(set.Spec.VolumeClaimTemplates) == 0 {
		return out
	}
	add := func(ordinal int) {
		for i := range set.Spec.VolumeClaimTemplates {
			name := claimName(set, set.Spec.VolumeClaimTemplates[i].Name, ordinal)
			if present := c.world.PersistentVolumeClaims.Get(set.Namespace, name); present != nil {
				out[name] = present
			}
		}
	}
	for i := range wish(set) {
		add(first(set) + i)
	}
	for _, p := range pods {
		add(ordinal(p))
	}
	return out
}

// revisions gives the set's current and update revision, having written what the
// template makes new. A set that is being deleted makes none.
func (c *controller) revisions(ctx context.Context, set *appsv1.StatefulSet, all []*appsv1.ControllerRevision) (current, latest *appsv1.ControllerRevision, count int32, err error) {
	chosen, err := choose(set, all)
	if err != nil {
		return nil, nil, 0, err
	}
	latest, count = chosen.Update, collisions(set)
	switch {
	case set.DeletionTimestamp != nil:
	case chosen.Write == update:
		latest, err = c.history.Update(ctx, chosen.Update)
	case chosen.Write == create:
		latest, count, err = c.createRevision(ctx, set, chosen.Update)
	}
	if err != nil {
		return nil, nil, 0, err
	}
	current = chosen.Current
	if current == nil {
		current = latest
	}
	return current, latest, count, nil
}

// createRevision tries one name after the other until there is one that no other
// template's revision has.
func (c *controller) createRevision(ctx context.Context, set *appsv1.StatefulSet, draft *appsv1.ControllerRevision) (*appsv1.ControllerRevision, int32, error) {
	for count := collisions(set); ; count++ {
		draft.Name = history.Name(set.Name, history.Hash(draft.Data.Raw, count))
		created, collision, err := c.history.Create(ctx, draft)
		if err != nil || !collision {
			return created, count, err
		}
	}
}

// report writes the status when it differs.
func (c *controller) report(ctx context.Context, set *appsv1.StatefulSet, next appsv1.StatefulSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, next) {
		return nil
	}
	changed := set.DeepCopy()
	changed.Status = next
	if _, err := c.sets.UpdateStatus(ctx, changed); err != nil {
		return fmt.Errorf("updating status: %w", err)
	}
	return nil
}

func object(set *appsv1.StatefulSet) event.Object {
	return event.Object{GroupVersionKind: kind, Meta: set}
}
