package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

var podKind = corev1.SchemeGroupVersion.WithKind("Pod")

// Eviction deletes pods from nodes with NoExecute taints they do not, or no longer, tolerate.
func Eviction() frame.Definition {
	return frame.Definition{Name: "taint-eviction", User: "node-controller", Component: "taint-eviction-controller", Make: func(env *frame.Env) (frame.Loop, error) {
		e := &eviction{world: env.World, writer: env.Writer, events: env.Events, since: map[types.NamespacedName]stay{}}
		return frame.Keyed(env, e.reconcile,
			frame.Reads[types.NamespacedName](env.World.Pods),
			frame.On(env.World.Nodes, e.nodeChanged), frame.On(env.World.Pods, podChanged)), nil
	}}
}

type eviction struct {
	world  *mirror.World
	writer *write.Client
	events *event.Recorder

	mu    sync.Mutex
	since map[types.NamespacedName]stay
}

// stay is a pod's time on a tainted node; it begins anew with each start of this process.
type stay struct {
	uid  types.UID
	from time.Time
}

func (e *eviction) nodeChanged(old, new *corev1.Node, add func(types.NamespacedName)) {
	if new == nil || old == nil && len(noExecute(new)) == 0 || old != nil && equality.Semantic.DeepEqual(noExecute(old), noExecute(new)) {
		return
	}
	for _, p := range e.world.Pods.ByIndex(mirror.ByNode, new.Name) {
		add(frame.KeyOf(p))
	}
}

func podChanged(old, new *corev1.Pod, add func(types.NamespacedName)) {
	if new != nil && (new.Spec.NodeName == "" ||
		old != nil && old.Spec.NodeName == new.Spec.NodeName && equality.Semantic.DeepEqual(old.Spec.Tolerations, new.Spec.Tolerations)) {
		return
	}
	frame.Self(old, new, add)
}

func (e *eviction) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	p := e.world.Pods.Get(key.Namespace, key.Name)
	if p == nil || p.DeletionTimestamp != nil {
		e.forget(key)
		return 0, nil
	}
	var taints []corev1.Taint
	if node := e.world.Nodes.Get("", p.Spec.NodeName); node != nil {
		taints = noExecute(node)
	}
	limit, bounded := tolerated(p.Spec.Tolerations, taints)
	if !bounded {
		if e.forget(key) {
			e.events.Normal(event.Object{GroupVersionKind: podKind, Meta: p}, "TaintManagerEviction", "Cancelling deletion of Pod %s", key)
		}
		return 0, nil
	}
	if wait := limit - time.Since(e.begin(key, p.UID)); wait > 0 {
		return wait, nil
	}
	return 0, e.evict(ctx, key, p)
}

func (e *eviction) begin(key types.NamespacedName, uid types.UID) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.since[key].uid != uid {
		e.since[key] = stay{uid, time.Now()}
	}
	return e.since[key].from
}

func (e *eviction) forget(key types.NamespacedName) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, found := e.since[key]
	delete(e.since, key)
	return found
}

// evict says why on the pod, then deletes it.
func (e *eviction) evict(ctx context.Context, key types.NamespacedName, p *corev1.Pod) error {
	e.events.Normal(event.Object{GroupVersionKind: podKind, Meta: p}, "TaintManagerEviction", "Marking for deletion Pod %s", key)
	mark, err := write.Strategic(write.Path("", "v1", p.Namespace, "pods", p.Name, "status"), map[string]any{
		"metadata": map[string]any{"uid": p.UID},
		"status": map[string]any{"conditions": []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager",
			Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.Now(), ObservedGeneration: p.Generation,
		}}},
	})
	if err != nil {
		return err
	}
	remove, err := write.Delete(write.Path("", "v1", p.Namespace, "pods", p.Name), &metav1.DeleteOptions{Preconditions: write.OnlyUID(p.UID)})
	if err != nil {
		return err
	}
	if _, err := e.writer.One(ctx, mark); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("marking pod for eviction: %w", err)
	}
	if _, err := e.writer.One(ctx, remove); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("evicting pod: %w", err)
	}
	return nil
}

func noExecute(node *corev1.Node) (found []corev1.Taint) {
	for _, t := range node.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			found = append(found, t)
		}
	}
	return found
}

// tolerated is how long a pod may stay under taints; bounded is false for ever. Of
// several tolerations of one taint the first counts.
func tolerated(tolerations []corev1.Toleration, taints []corev1.Taint) (limit time.Duration, bounded bool) {
	for i := range taints {
		t := tolerationOf(tolerations, &taints[i])
		switch {
		case t == nil:
			return 0, true
		case t.TolerationSeconds == nil:
			continue
		}
		if d := max(0, time.Duration(*t.TolerationSeconds)*time.Second); !bounded || d < limit {
			limit, bounded = d, true
		}
	}
	return limit, bounded
}

func tolerationOf(tolerations []corev1.Toleration, taint *corev1.Taint) *corev1.Toleration {
	for i := range tolerations {
		t := &tolerations[i]
		if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
			continue
		}
		switch t.Operator {
		case "", corev1.TolerationOpEqual:
			if t.Value == taint.Value {
				return t
			}
		case corev1.TolerationOpExists:
			return t
		}
	}
	return nil
}
