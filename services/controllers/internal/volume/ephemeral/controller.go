// Package ephemeral makes the claims of pods' ephemeral volumes. A claim is the pod's own
// (the garbage collector removes it with the pod) and is called POD-VOLUME; one that
// is called so and is not the pod's is never touched, and the pod is told.
package ephemeral

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	rule "kubus.dev/proto/volume"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
)

type key = types.NamespacedName

// Controller makes claims.
func Controller() frame.Definition {
	return frame.Definition{Name: "ephemeral_volume", User: "ephemeral-volume-controller", Component: "ephemeral_volume",
		Make: func(e *frame.Env) (frame.Loop, error) {
			c := &controller{e, frame.Of(e, e.World.PersistentVolumeClaims)}
			return frame.Keyed(e, c.reconcile, frame.On(e.World.Pods, podChanged), frame.On(e.World.PersistentVolumeClaims, claimChanged)), nil
		}}
}

type controller struct {
	env    *frame.Env
	claims frame.Objects[corev1.PersistentVolumeClaim]
}

// podChanged wakes new pods with ephemeral volumes.
func podChanged(old, new *corev1.Pod, add func(key)) {
	if old != nil || new.DeletionTimestamp != nil {
		return
	}
	for i := range new.Spec.Volumes {
		if new.Spec.Volumes[i].Ephemeral != nil {
			add(frame.KeyOf(new))
			return
		}
	}
}

// claimChanged wakes the pod whose claim is gone.
func claimChanged(old, new *corev1.PersistentVolumeClaim, add func(key)) {
	if new != nil {
		return
	}
	if owner := metav1.GetControllerOfNoCopy(old); owner != nil && owner.Kind == "Pod" {
		add(key{Namespace: old.Namespace, Name: owner.Name})
	}
}

func (c *controller) reconcile(ctx context.Context, k key) (time.Duration, error) {
	pod := c.env.World.Pods.Get(k.Namespace, k.Name)
	if pod == nil || pod.DeletionTimestamp != nil {
		return 0, nil
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Ephemeral == nil {
			continue
		}
		claim := claimOf(pod, v)
		if err := c.ensure(ctx, pod, claim); err != nil {
			c.env.Events.Warning(event.Object{GroupVersionKind: c.env.World.Pods.GVK(), Meta: pod}, "FailedBinding", "ephemeral volume %s: %v", v.Name, err)
			return 0, fmt.Errorf("pod %s, ephemeral volume %s: %w", k, v.Name, err)
		}
	}
	return 0, nil
}

func (c *controller) ensure(ctx context.Context, pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) error {
	if present := c.env.World.PersistentVolumeClaims.Get(claim.Namespace, claim.Name); present != nil {
		return rule.MadeFor(pod, present)
	}
	if _, err := c.claims.Create(ctx, claim); err != nil {
		return fmt.Errorf("create PVC %s: %w", claim.Name, err)
	}
	return nil
}

// claimOf is the claim that a pod's ephemeral volume asks for.
func claimOf(pod *corev1.Pod, v *corev1.Volume) *corev1.PersistentVolumeClaim {
	name, _ := rule.ClaimName(pod, v)
	template := v.Ephemeral.VolumeClaimTemplate.DeepCopy()
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: name, Annotations: template.Annotations, Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))},
		},
		Spec: template.Spec,
	}
}
