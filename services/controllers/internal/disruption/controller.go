package disruption

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

// subject is what is looked at: a budget, or one pod for its condition DisruptionTarget.
type subject struct {
	types.NamespacedName
	Pod bool
}

type controller struct {
	world   *mirror.World
	writer  *write.Client
	events  *event.Recorder
	budgets frame.Objects[policyv1.PodDisruptionBudget]
}

// Controller keeps the status of PodDisruptionBudgets.
func Controller() frame.Definition {
	return frame.Definition{Name: "disruption", User: "disruption-controller", Component: "controllermanager", Make: func(e *frame.Env) (frame.Loop, error) {
		c := &controller{world: e.World, writer: e.Writer, events: e.Events, budgets: frame.Of(e, e.World.PodDisruptionBudgets)}
		return frame.Keyed(e, c.reconcile,
			frame.On(e.World.PodDisruptionBudgets, func(_, new *policyv1.PodDisruptionBudget, add func(subject)) {
				if new != nil {
					add(subject{NamespacedName: frame.KeyOf(new)})
				}
			}),
			frame.On(e.World.Pods, c.podChanged),
			resized(c, e.World.ReplicationControllers), resized(c, e.World.ReplicaSets),
			resized(c, e.World.Deployments), resized(c, e.World.StatefulSets),
		), nil
	}}
}

func (c *controller) podChanged(old, new *corev1.Pod, add func(subject)) {
	if new != nil {
		if _, is := stale(new, time.Now()); is {
			add(subject{frame.KeyOf(new), true})
		}
		budgets := c.budgetsOf(new)
		if len(budgets) > 1 {
			c.events.Warning(about(new, "v1", "Pod"), "MultiplePodDisruptionBudgets", "Pod %q/%q matches multiple PodDisruptionBudgets.  Chose %q arbitrarily.", new.Namespace, new.Name, budgets[0].Name)
		}
		for _, b := range budgets {
			add(subject{NamespacedName: frame.KeyOf(b)})
		}
	}
	if old != nil && (new == nil || !labels.Equals(old.Labels, new.Labels)) {
		for _, b := range c.budgetsOf(old) {
			add(subject{NamespacedName: frame.KeyOf(b)})
		}
	}
}

// budgetsOf are those whose selector names a pod; one without labels has none.
func (c *controller) budgetsOf(pod *corev1.Pod) (all []*policyv1.PodDisruptionBudget) {
	for _, b := range c.world.PodDisruptionBudgets.List(pod.Namespace) {
		if selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && selector.Matches(labels.Set(pod.Labels)) {
			all = append(all, b)
		}
	}
	return all
}

// resized wakes the budgets that go by what owners want, when an owner wants another number.
func resized[T any](c *controller, kind *mirror.Kind[T]) frame.Trigger[subject] {
	return frame.On(kind, func(old, new *T, add func(subject)) {
		if old != nil && new != nil && replicas(old) == replicas(new) {
			return
		}
		some := new
		if new == nil {
			some = old
		}
		for _, b := range c.world.PodDisruptionBudgets.List(any(some).(metav1.Object).GetNamespace()) {
			if needsScale(b) {
				add(subject{NamespacedName: frame.KeyOf(b)})
			}
		}
	})
}

func (c *controller) reconcile(ctx context.Context, of subject) (time.Duration, error) {
	if of.Pod {
		return c.settle(ctx, of.NamespacedName)
	}
	budget := c.world.PodDisruptionBudgets.Get(of.Namespace, of.Name)
	if budget == nil {
		return 0, nil
	}
	o, err := c.count(ctx, budget)
	if err != nil {
		o = failed(budget, err)
		if !errors.Is(err, errNoAnswer) {
			err = fmt.Errorf("%w: %w", queue.ErrDrop, err)
		}
	}
	for _, p := range o.NotDeleted {
		// As upstream, which names the namespace twice.
		c.events.Warning(about(p, "v1", "Pod"), "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", budget.Namespace, budget.Namespace)
	}
	if o.Changed {
		next := budget.DeepCopy()
		next.Status = o.Status
		if _, err := c.budgets.UpdateStatus(ctx, next); err != nil && !apierrors.IsNotFound(err) {
			return 0, fmt.Errorf("writing the budget's status: %w", err)
		}
	}
	return o.Again, err
}

func (c *controller) count(ctx context.Context, budget *policyv1.PodDisruptionBudget) (outcome, error) {
	object := about(budget, "policy/v1", "PodDisruptionBudget")
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		c.events.Warning(object, "NoPods", "Failed to get pods: %v", err)
		return outcome{}, err
	}
	var pods []*corev1.Pod
	for _, p := range c.world.Pods.List(budget.Namespace) {
		if selector.Matches(labels.Set(p.Labels)) {
			pods = append(pods, p)
		}
	}
	if len(pods) == 0 {
		c.events.Normal(object, "NoPods", "No matching pods found")
	}
	var of owned
	if needsScale(budget) {
		of, err = group(pods, func(owner *metav1.OwnerReference, namespace string) (*scale, error) {
			return c.scaleOf(ctx, owner, namespace)
		})
	}
	var o outcome
	if err == nil {
		o, err = plan(budget, pods, of, time.Now())
	}
	if err != nil {
		c.events.Warning(object, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", err)
		return outcome{}, err
	}
	if len(of.Unmanaged) > 0 {
		c.events.Warning(object, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found "+
			"to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
			"To account for these pods please set \".spec.minAvailable\" "+
			"field of the PDB to an integer value.", budget.Spec.Selector)
	}
	return o, nil
}

// settle takes a pod's condition DisruptionTarget back when it is too old.
func (c *controller) settle(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	p := c.world.Pods.Get(key.Namespace, key.Name)
	if p == nil {
		return 0, nil
	}
	wait, is := stale(p, time.Now())
	if !is || wait > 0 {
		return wait, nil
	}
	request, err := write.Strategic(write.Path("", "v1", p.Namespace, "pods", p.Name, "status"), map[string]any{
		"metadata": map[string]any{"uid": p.UID},
		"status": map[string]any{"conditions": []map[string]any{{
			"type": corev1.DisruptionTarget, "status": corev1.ConditionFalse, "reason": nil, "message": nil,
			"observedGeneration": p.Generation, "lastTransitionTime": metav1.Now(),
		}}},
	})
	if err != nil {
		return 0, err
	}
	body, err := c.writer.One(ctx, request)
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("taking back the condition DisruptionTarget: %w", err)
	}
	return 0, c.world.Pods.WaitRevision(ctx, write.Revision(body))
}
