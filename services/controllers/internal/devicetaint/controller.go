package devicetaint

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/write"
)

const (
	userName = "device-taint-eviction-controller" // of the user, and of who owns a rule's condition
	// pace is the shortest time between two changes of a rule's condition.
	pace = 10 * time.Second
	// byPool files slices under driver/pool.
	byPool = "pool"
)

// subject is what is looked at: a pod or a rule.
type subject struct {
	types.NamespacedName
	Rule bool
}

type controller struct {
	world  *mirror.World
	pods   frame.Objects[corev1.Pod]
	writer *write.Client
	events *event.Recorder
	queue  *frame.Queue[subject]

	mu      sync.Mutex
	pending map[types.UID]bool // pods that are to go later
	evicted map[types.UID]int  // pods, by rule
}

// Controller evicts pods from tainted devices.
func Controller() frame.Definition {
	return frame.Definition{Name: "device-taint-eviction", User: userName, Make: func(e *frame.Env) (frame.Loop, error) {
		e.World.ResourceSlices.Index(byPool, func(s *slice) []string { return []string{s.Spec.Driver + "/" + s.Spec.Pool.Name} })
		c := &controller{
			world: e.World, pods: frame.Of(e, e.World.Pods), writer: e.Writer, events: e.Events,
			pending: map[types.UID]bool{}, evicted: map[types.UID]int{},
		}
		c.queue = frame.Keyed(e, c.reconcile,
			frame.On(e.World.Pods, podChanged),
			frame.On(e.World.ResourceClaims, c.claimChanged),
			frame.On(e.World.ResourceSlices, c.sliceChanged),
			frame.On(e.World.DeviceTaintRules, c.ruleChanged),
		)
		return c.queue, nil
	}}
}

func podChanged(_, new *corev1.Pod, add func(subject)) {
	if new != nil && new.Spec.NodeName != "" && (len(new.Spec.ResourceClaims) > 0 || new.Status.ExtendedResourceClaimStatus != nil) {
		add(subject{frame.KeyOf(new), false})
	}
}

func (c *controller) claimChanged(old, new *claim, add func(subject)) {
	for _, one := range []*claim{old, new} {
		if one != nil {
			users(one, add)
		}
	}
}

// users wakes the pods that a claim is reserved for.
func users(c *claim, add func(subject)) {
	for _, consumer := range c.Status.ReservedFor {
		if consumer.APIGroup == "" && consumer.Resource == "pods" {
			add(subject{types.NamespacedName{Namespace: c.Namespace, Name: consumer.Name}, false})
		}
	}
}

// sliceChanged wakes the pods that have devices of the slice's pool.
func (c *controller) sliceChanged(old, new *slice, add func(subject)) {
	some := new
	if new == nil {
		some = old
	}
	if old != nil && new != nil && equality.Semantic.DeepEqual(old.Spec, new.Spec) {
		return
	}
	for _, one := range c.world.ResourceClaims.List("") {
		if one.Status.Allocation != nil && slices.ContainsFunc(one.Status.Allocation.Devices.Results, func(d resourcev1.DeviceRequestAllocationResult) bool {
			return d.Driver == some.Spec.Driver && d.Pool == some.Spec.Pool.Name
		}) {
			users(one, add)
		}
	}
}

func (c *controller) ruleChanged(old, new *rule, add func(subject)) {
	if new == nil {
		c.mu.Lock()
		delete(c.evicted, old.UID)
		c.mu.Unlock()
	} else {
		add(subject{types.NamespacedName{Name: new.Name}, true})
	}
	if old != nil && new != nil && equality.Semantic.DeepEqual(old.Spec, new.Spec) {
		return
	}
	for _, one := range c.world.ResourceClaims.List("") {
		users(one, add)
	}
}

// Pool implements sight.
func (c *controller) Pool(driver, pool string) []*slice {
	return c.world.ResourceSlices.ByIndex(byPool, driver+"/"+pool)
}

// Rules implements sight.
func (c *controller) Rules() []*rule { return c.world.DeviceTaintRules.List("") }

// Claim implements sight.
func (c *controller) Claim(namespace, name string) *claim {
	return c.world.ResourceClaims.Get(namespace, name)
}

func (c *controller) reconcile(ctx context.Context, of subject) (time.Duration, error) {
	if of.Rule {
		return c.rule(ctx, of.Name)
	}
	return c.pod(ctx, of.NamespacedName)
}

func (c *controller) pod(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	p := c.world.Pods.Get(key.Namespace, key.Name)
	if p == nil || p.DeletionTimestamp != nil {
		if p != nil {
			c.wait(p, false)
		}
		return 0, nil
	}
	about := event.Object{GroupVersionKind: schema.FromAPIVersionAndKind("v1", "Pod"), Meta: p}
	due := evictionOf(p, c)
	if due == nil {
		if c.wait(p, false) {
			c.events.Normal(about, "DeviceTaintManagerEviction", "Cancelling deletion")
		}
		return 0, nil
	}
	for _, r := range due.Rules {
		c.queue.AddAfter(subject{types.NamespacedName{Name: r.Name}, true}, pace)
	}
	if left := time.Until(due.At); left > 0 {
		c.wait(p, true)
		return left, nil
	}
	c.wait(p, false)
	c.events.Normal(about, "DeviceTaintManagerEviction", "Marking for deletion")
	if err := c.evict(ctx, p); err != nil {
		return 0, fmt.Errorf("evicting a pod from a tainted device: %w", err)
	}
	c.mu.Lock()
	for _, r := range due.Rules {
		c.evicted[r.UID]++
	}
	c.mu.Unlock()
	return 0, nil
}

// wait notes whether a pod is to go later, and tells whether it was.
func (c *controller) wait(p *corev1.Pod, later bool) (was bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was = c.pending[p.UID]
	if later {
		c.pending[p.UID] = true
	} else {
		delete(c.pending, p.UID)
	}
	return was
}

func (c *controller) evict(ctx context.Context, p *corev1.Pod) error {
	if !pod.Terminal(p) {
		request, err := write.Strategic(c.world.Pods.Path(p.Namespace, p.Name, "status"), map[string]any{
			"metadata": map[string]any{"uid": p.UID},
			"status": map[string]any{"conditions": []corev1.PodCondition{{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
				Reason: "DeletionByDeviceTaintManager", Message: "Device Taint manager: deleting due to NoExecute taint", ObservedGeneration: p.Generation,
			}}},
		})
		if err != nil {
			return err
		}
		if _, err := c.writer.One(ctx, request); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	if err := c.pods.Delete(ctx, p, nil); err != nil && !apierrors.IsConflict(err) {
		return err
	}
	return nil
}

func (c *controller) rule(ctx context.Context, name string) (time.Duration, error) {
	r := c.world.DeviceTaintRules.Get("", name)
	if r == nil {
		return 0, nil
	}
	has := apimeta.FindStatusCondition(r.Status.Conditions, resourcev1.DeviceTaintConditionEvictionInProgress)
	if has != nil && has.ObservedGeneration == r.Generation {
		if r.Spec.Taint.Effect == resourcev1.DeviceTaintEffectNone {
			return 0, nil
		}
		if left := pace - time.Since(has.LastTransitionTime.Time); left > 0 {
			return left, nil
		}
	}
	next := conditionOf(r, c.count(r))
	if has != nil && has.Status == next.Status && has.Reason == next.Reason && has.Message == next.Message && has.ObservedGeneration == next.ObservedGeneration {
		return 0, nil
	}
	next.LastTransitionTime = metav1.Now()
	request, err := write.Apply(c.world.DeviceTaintRules.Path("", name, "status"), userName, map[string]any{
		"apiVersion": resourcev1.SchemeGroupVersion.String(), "kind": "DeviceTaintRule", "metadata": map[string]any{"name": name, "uid": r.UID},
		"status": map[string]any{"conditions": []metav1.Condition{next}},
	})
	if err != nil {
		return 0, err
	}
	body, err := c.writer.One(ctx, request)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("add condition to DeviceTaintRule status: %w", err)
	}
	if next.Status == metav1.ConditionTrue {
		return pace, c.world.DeviceTaintRules.WaitRevision(ctx, write.Revision(body))
	}
	return 0, c.world.DeviceTaintRules.WaitRevision(ctx, write.Revision(body))
}

// count counts what a rule does, or would do if it had an effect.
func (c *controller) count(r *rule) (n counts) {
	var in sight = c
	if r.Spec.Taint.Effect == resourcev1.DeviceTaintEffectNone {
		in = supposed{c, r}
		n.Published, n.Allocated = c.devices(r)
	}
	namespaces := map[string]bool{}
	for _, p := range c.world.Pods.List("") {
		if p.DeletionTimestamp != nil {
			continue
		}
		if due := evictionOf(p, in); due != nil && slices.ContainsFunc(due.Rules, func(one *rule) bool { return one.UID == r.UID }) {
			n.Pods++
			namespaces[p.Namespace] = true
		}
	}
	n.Namespaces = len(namespaces)
	c.mu.Lock()
	defer c.mu.Unlock()
	n.Evicted = c.evicted[r.UID]
	return n
}

// devices counts those that a rule selects.
func (c *controller) devices(r *rule) (published, allocated int) {
	seen := map[string]bool{}
	for _, s := range c.world.ResourceSlices.List("") {
		driver, pool := s.Spec.Driver, s.Spec.Pool.Name
		if seen[driver+"/"+pool] {
			continue
		}
		seen[driver+"/"+pool] = true
		for _, d := range newest(c.Pool(driver, pool)) {
			if selects(r, driver, pool, d.Name) {
				published++
			}
		}
	}
	for _, one := range c.world.ResourceClaims.List("") {
		if one.Status.Allocation == nil {
			continue
		}
		for _, d := range one.Status.Allocation.Devices.Results {
			if selects(r, d.Driver, d.Pool, d.Device) {
				allocated++
			}
		}
	}
	return published, allocated
}

// supposed is the world with one rule that has the effect.
type supposed struct {
	*controller
	rule *rule
}

// Rules implements sight.
func (s supposed) Rules() (all []*rule) {
	for _, r := range s.controller.Rules() {
		if r.UID == s.rule.UID {
			r = r.DeepCopy()
			r.Spec.Taint.Effect = resourcev1.DeviceTaintEffectNoExecute
		}
		all = append(all, r)
	}
	return all
}
