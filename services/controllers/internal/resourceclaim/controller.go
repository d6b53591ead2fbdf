package resourceclaim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dra "k8s.io/dynamic-resource-allocation/resourceclaim"

	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// manager owns the claims' names in the status of pods, as upstream's.
const manager = "ResourceClaimController"

// subject is what is looked at: a claim or a pod.
type subject struct {
	types.NamespacedName
	Pod bool
}

type controller struct {
	world  *mirror.World
	claims frame.Objects[resourcev1.ResourceClaim]
	writer *write.Client
	events *event.Recorder
}

// Controller keeps the claims of pods.
func Controller() frame.Definition {
	return frame.Definition{Name: "resourceclaim", User: "resource-claim-controller", Component: "resource_claim", Make: func(e *frame.Env) (frame.Loop, error) {
		c := &controller{e.World, frame.Of(e, e.World.ResourceClaims), e.Writer, e.Events}
		return frame.Keyed(e, c.reconcile,
			frame.On(e.World.Pods, c.podChanged),
			frame.On(e.World.ResourceClaims, c.claimChanged),
			frame.On(e.World.ResourceClaimTemplates, c.templateChanged),
		), nil
	}}
}

func (c *controller) podChanged(old, new *corev1.Pod, add func(subject)) {
	p := new
	if new == nil {
		p = old
	}
	if len(p.Spec.ResourceClaims) == 0 && p.Status.ExtendedResourceClaimStatus == nil {
		return
	}
	if new == nil || finished(new) {
		for name := range dra.PodClaims(p) {
			add(subject{types.NamespacedName{Namespace: p.Namespace, Name: name}, false})
		}
	}
	if new != nil && new.DeletionTimestamp == nil {
		add(subject{frame.KeyOf(new), true})
	}
}

// claimChanged wakes the claim, and the pods that use it or wait for it.
func (c *controller) claimChanged(old, new *resourcev1.ResourceClaim, add func(subject)) {
	claim := new
	if new == nil {
		claim = old
	} else {
		add(subject{frame.KeyOf(new), false})
	}
	for _, p := range c.world.Pods.List(claim.Namespace) {
		if metav1.IsControlledBy(claim, p) || uses(p, claim.Name) {
			add(subject{frame.KeyOf(p), true})
		}
	}
}

func uses(p *corev1.Pod, claim string) bool {
	for name := range dra.PodClaims(p) {
		if name == claim {
			return true
		}
	}
	return false
}

func (c *controller) templateChanged(_, new *resourcev1.ResourceClaimTemplate, add func(subject)) {
	if new == nil {
		return
	}
	for _, p := range c.world.Pods.List(new.Namespace) {
		if slices.ContainsFunc(p.Spec.ResourceClaims, func(asked corev1.PodResourceClaim) bool {
			return asked.ResourceClaimTemplateName != nil && *asked.ResourceClaimTemplateName == new.Name
		}) {
			add(subject{frame.KeyOf(p), true})
		}
	}
}

func (c *controller) reconcile(ctx context.Context, of subject) (time.Duration, error) {
	if of.Pod {
		return 0, c.pod(ctx, of.NamespacedName)
	}
	return 0, c.claim(ctx, of.NamespacedName)
}

func (c *controller) pod(ctx context.Context, key types.NamespacedName) error {
	p := c.world.Pods.Get(key.Namespace, key.Name)
	if p == nil || p.DeletionTimestamp != nil || len(p.Spec.ResourceClaims) == 0 {
		return nil
	}
	plan := planPod(p, func() []*resourcev1.ResourceClaim { return c.world.ResourceClaims.List(p.Namespace) },
		func(name string) *resourcev1.ResourceClaimTemplate {
			return c.world.ResourceClaimTemplates.Get(p.Namespace, name)
		})
	for _, order := range plan.Make {
		claim, err := c.claims.Create(ctx, order.Claim)
		if err != nil {
			plan.Failed[order.For] = fmt.Errorf("create ResourceClaim : %w", err)
			continue
		}
		plan.Found[order.For] = claim.Name
	}
	if err := c.name(ctx, p, plan.Found); err != nil {
		return err
	}
	var failed []error
	for _, name := range slices.Sorted(maps.Keys(plan.Failed)) {
		err := plan.Failed[name]
		c.events.Warning(event.Object{GroupVersionKind: schema.FromAPIVersionAndKind("v1", "Pod"), Meta: p}, "FailedResourceClaimCreation", "PodResourceClaim %s: %v", name, err)
		failed = append(failed, fmt.Errorf("PodResourceClaim %s: %w", name, err))
	}
	if len(failed) > 0 || len(plan.Found) > 0 { // the status is to be seen first; its change wakes us
		return errors.Join(failed...)
	}
	claims, err := unreserved(p, func(name string) *resourcev1.ResourceClaim { return c.world.ResourceClaims.Get(p.Namespace, name) })
	if err != nil {
		return err
	}
	for _, claim := range claims {
		next := claim.DeepCopy()
		next.Status.ReservedFor = append(next.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: p.Name, UID: p.UID})
		if _, err := c.claims.UpdateStatus(ctx, next); err != nil {
			return fmt.Errorf("reserve claim %s: %w", claim.Name, err)
		}
	}
	return nil
}

// name writes the claims' names into a pod's status, beside those that are there.
func (c *controller) name(ctx context.Context, p *corev1.Pod, found map[string]string) error {
	if len(found) == 0 {
		return nil
	}
	names := map[string]string{}
	for _, s := range p.Status.ResourceClaimStatuses {
		if s.ResourceClaimName != nil {
			names[s.Name] = *s.ResourceClaimName
		}
	}
	maps.Copy(names, found)
	var statuses []map[string]string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		statuses = append(statuses, map[string]string{"name": name, "resourceClaimName": names[name]})
	}
	request, err := write.Apply(c.world.Pods.Path(p.Namespace, p.Name, "status"), manager, map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": p.Name, "namespace": p.Namespace, "uid": p.UID},
		"status": map[string]any{"resourceClaimStatuses": statuses},
	})
	if err != nil {
		return err
	}
	body, err := c.writer.One(ctx, request)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("update pod %s/%s ResourceClaimStatuses: %w", p.Namespace, p.Name, err)
	}
	return c.world.Pods.WaitRevision(ctx, write.Revision(body))
}

func (c *controller) claim(ctx context.Context, key types.NamespacedName) error {
	claim := c.world.ResourceClaims.Get(key.Namespace, key.Name)
	if claim == nil {
		return nil
	}
	var unsure error
	done := func(consumer resourcev1.ResourceClaimConsumerReference) bool {
		is, err := c.done(ctx, claim.Namespace, consumer)
		unsure = errors.Join(unsure, err)
		return is
	}
	var owner *corev1.Pod
	if reference := metav1.GetControllerOfNoCopy(claim); reference != nil {
		owner = c.world.Pods.Get(claim.Namespace, reference.Name)
	}
	plan := planClaim(claim, done, owner)
	if unsure != nil {
		return unsure
	}
	if plan.Status != nil {
		next := claim.DeepCopy()
		next.Status = *plan.Status
		var err error
		if claim, err = c.claims.UpdateStatus(ctx, next); err != nil {
			return fmt.Errorf("releasing claim: %w", err)
		}
	}
	if plan.Release {
		next := claim.DeepCopy()
		next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
		if _, err := c.claims.Update(ctx, next); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("releasing claim: %w", err)
		}
	}
	if plan.Delete {
		if err := c.claims.Delete(ctx, claim, nil); err != nil {
			return fmt.Errorf("delete unused generated claim %s: %w", claim.Name, err)
		}
	}
	return nil
}

// done tells whether a pod that has a reservation needs it no more.
func (c *controller) done(ctx context.Context, namespace string, consumer resourcev1.ResourceClaimConsumerReference) (bool, error) {
	if p := c.world.Pods.Get(namespace, consumer.Name); p != nil {
		return p.UID != consumer.UID || finished(p), nil
	}
	exists, err := c.writer.Exists(ctx, c.world.Pods.Path(namespace, consumer.Name), consumer.UID)
	return !exists, err
}
