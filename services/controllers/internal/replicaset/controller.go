// Package replicaset keeps as many pods of each ReplicaSet, and of each
// ReplicationController, as its spec wishes.
//
//	       fewer than wished            more than wished
//	(create) <---------- [ counting ] ----------> (delete)
//	    |                     ^                      |
//	    +---- own writes seen in the mirror ---------+
//
// Never one pod too many: see podcontrol. A ReplicationController is handled as the
// ReplicaSet that it amounts to. Semantics, events and conditions are those of
// upstream's ReplicaSet controller.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/claim"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/podcontrol"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

// Controller keeps ReplicaSets.
func Controller() frame.Definition {
	return frame.Definition{Name: "replicaset", User: "replicaset-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		return loop(e, e.World.ReplicaSets,
			func(set *appsv1.ReplicaSet) *appsv1.ReplicaSet { return set },
			func(set *appsv1.ReplicaSet, next appsv1.ReplicaSetStatus) { set.Status = next }), nil
	}}
}

// ReplicationController keeps ReplicationControllers.
func ReplicationController() frame.Definition {
	return frame.Definition{Name: "replicationcontroller", User: "replication-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		return loop(e, e.World.ReplicationControllers, asSet, reportTo), nil
	}}
}

// controller reconciles a kind of sets of pods.
type controller[T any] struct {
	world  *mirror.World
	kind   *mirror.Kind[T]
	sets   frame.Objects[T]
	pods   *podcontrol.Control
	writer *write.Client
	view   func(*T) *appsv1.ReplicaSet       // as a ReplicaSet; may share memory
	report func(*T, appsv1.ReplicaSetStatus) // in a copy
}

func loop[T any](e *frame.Env, kind *mirror.Kind[T], view func(*T) *appsv1.ReplicaSet, report func(*T, appsv1.ReplicaSetStatus)) frame.Loop {
	c := &controller[T]{e.World, kind, frame.Of(e, kind), podcontrol.New(e), e.Writer, view, report}
	return frame.Keyed(e, c.reconcile,
		frame.On(kind, frame.Self),
		frame.Owned(e.World.Pods, kind, func(o *T) (labels.Selector, error) { return claim.Selector(view(o).Spec.Selector) }),
		frame.Reads[types.NamespacedName](e.World.ReplicaSets))
}

func (c *controller[T]) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	object := c.kind.Get(key.Namespace, key.Name)
	if object == nil {
		return 0, nil
	}
	set := c.view(object)
	selector, err := claim.Selector(set.Spec.Selector)
	if err != nil {
		return 0, errors.Join(queue.ErrDrop, fmt.Errorf("%s %s: %w", c.kind.GVK().Kind, key, err))
	}
	owner := claim.Owner{Object: set, Kind: c.kind.GVK(), Path: c.kind.Path(set.Namespace, set.Name), Selector: selector}
	pods := c.podsOf(set)
	owned, err := claim.Settle(ctx, c.writer, owner, c.world.Pods, claim.Of(owner, active(pods)))
	if err != nil {
		return 0, err
	}
	owned = active(owned)
	todo := scale(set, owned, c.related(set), time.Now())
	failed, scaleErr := c.apply(ctx, set, todo)
	if late := (*mirror.Behind)(nil); errors.As(scaleErr, &late) {
		return 0, scaleErr
	}
	if !todo.none() { // the mirror shows it by now, so the status can tell of it
		pods = c.podsOf(set)
		owned = claim.Of(owner, active(pods)).Owned
	}
	now := time.Now()
	next := status(set, owned, terminating(set, selector, pods), failed, now)
	if !equality.Semantic.DeepEqual(set.Status, next) {
		update := any(object).(interface{ DeepCopy() *T }).DeepCopy()
		c.report(update, next)
		if _, err := c.sets.UpdateStatus(ctx, update); err != nil {
			return 0, errors.Join(scaleErr, fmt.Errorf("updating status: %w", err))
		}
	}
	if scaleErr != nil {
		return 0, scaleErr
	}
	if set.Spec.MinReadySeconds > 0 && next.ReadyReplicas != next.AvailableReplicas {
		if wait := pod.NextAvailable(owned, set.Spec.MinReadySeconds, now); wait > 0 {
			return wait, nil
		}
		return time.Duration(set.Spec.MinReadySeconds) * time.Second, nil
	}
	return 0, nil
}

// podsOf are those of the set and those of nobody in its namespace.
func (c *controller[T]) podsOf(set *appsv1.ReplicaSet) []*corev1.Pod {
	return append(c.world.Pods.ByIndex(mirror.ByController, string(set.UID)), c.world.Pods.ByIndex(mirror.ByOrphanage, set.Namespace)...)
}

// related are the pods of all ReplicaSets under the same owner.
func (c *controller[T]) related(set *appsv1.ReplicaSet) []*corev1.Pod {
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

// apply carries out a change and returns once the mirror shows it. A failure is for
// the set's condition; the error asks for another try.
func (c *controller[T]) apply(ctx context.Context, set *appsv1.ReplicaSet, todo change) (*failure, error) {
	about := event.Object{GroupVersionKind: c.kind.GVK(), Meta: set}
	reason, errs, late := "FailedCreate", []error(nil), error(nil)
	if todo.Create > 0 {
		pods := make([]*corev1.Pod, todo.Create)
		for i := range pods {
			pods[i] = podcontrol.FromTemplate(set, c.kind.GVK(), &set.Spec.Template)
		}
		errs, late = c.pods.Create(ctx, about, pods)
	} else if len(todo.Delete) > 0 {
		reason = "FailedDelete"
		errs, late = c.pods.Delete(ctx, about, todo.Delete)
	}
	err := late
	for _, refusal := range errs {
		switch {
		case refusal == nil, apierrors.HasStatusCause(refusal, corev1.NamespaceTerminatingCause): // nothing can be made there any more
		case err == nil && reason == "FailedDelete":
			err = fmt.Errorf("unable to delete pods: %w", refusal)
		case err == nil:
			err = refusal
		}
	}
	if err != nil {
		return &failure{reason, err.Error()}, err
	}
	return nil, nil
}

// active are the pods that count: neither done nor on their way out.
func active(pods []*corev1.Pod) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range pods {
		if pod.Active(p) {
			out = append(out, p)
		}
	}
	return out
}
