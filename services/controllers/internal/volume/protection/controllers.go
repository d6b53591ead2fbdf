package protection

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	rule "kubus.dev/proto/volume"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/volume"
)

type key = types.NamespacedName

// Claims protects claims that pods use.
func Claims() frame.Definition {
	return frame.Definition{Name: "pvcprotection", User: "pvc-protection-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		c := &claims{e, volume.Index(e.World), frame.Of(e, e.World.PersistentVolumeClaims)}
		return frame.Keyed(e, c.reconcile, frame.On(e.World.PersistentVolumeClaims, frame.Self), frame.On(e.World.Pods, podChanged)), nil
	}}
}

type claims struct {
	env    *frame.Env
	users  volume.Users
	claims frame.Objects[corev1.PersistentVolumeClaim]
}

// podChanged wakes the claims that a pod begins or ends to use.
func podChanged(old, new *corev1.Pod, add func(key)) {
	if old != nil && new != nil && old.Spec.NodeName == new.Spec.NodeName && old.Status.Phase == new.Status.Phase &&
		(old.DeletionTimestamp == nil) == (new.DeletionTimestamp == nil) {
		return
	}
	p := new
	if p == nil {
		p = old
	}
	for _, name := range rule.ClaimNames(p) {
		add(key{Namespace: p.Namespace, Name: name})
	}
}

func (c *claims) reconcile(ctx context.Context, k key) (time.Duration, error) {
	claim := c.env.World.PersistentVolumeClaims.Get(k.Namespace, k.Name)
	if claim == nil {
		return 0, nil
	}
	pods := c.users.Pods(k)
	used := slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return refersTo(p, claim) })
	if condition := unused(claim, used, metav1.Now()); condition != nil {
		next := claim.DeepCopy()
		next.Status.Conditions = slices.DeleteFunc(next.Status.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool { return c.Type == condition.Type })
		next.Status.Conditions = append(next.Status.Conditions, *condition)
		written, err := c.claims.UpdateStatus(ctx, next)
		if err != nil {
			return 0, gone(fmt.Errorf("telling of the claim's use: %w", err))
		}
		claim = written
	}
	held := slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return holds(p, claim) })
	what := finalize(claim, rule.ClaimProtection, held)
	if what == unset {
		// The mirror of pods may be behind: what is lost by a mistake here is data.
		held, err := c.held(ctx, claim)
		if err != nil || held {
			return 0, err
		}
	}
	return 0, apply(ctx, c.claims, claim.DeepCopy(), rule.ClaimProtection, what)
}

// held asks the API itself whether a pod keeps the claim.
func (c *claims) held(ctx context.Context, claim *corev1.PersistentVolumeClaim) (bool, error) {
	body, err := c.env.Writer.Read(ctx, c.env.World.Pods.Path(claim.Namespace))
	if err != nil {
		return false, fmt.Errorf("looking for pods that use the claim: %w", err)
	}
	var pods corev1.PodList
	if err := json.Unmarshal(body, &pods); err != nil {
		return false, fmt.Errorf("looking for pods that use the claim: %w", err)
	}
	return slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return holds(&p, claim) }), nil
}

// Volumes protects volumes that are bound.
func Volumes() frame.Definition {
	return frame.Definition{Name: "pvprotection", User: "pv-protection-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		volumes := frame.Of(e, e.World.PersistentVolumes)
		reconcile := func(ctx context.Context, k key) (time.Duration, error) {
			pv := e.World.PersistentVolumes.Get("", k.Name)
			if pv == nil {
				return 0, nil
			}
			what := finalize(pv, rule.VolumeProtection, pv.Status.Phase == corev1.VolumeBound)
			return 0, apply(ctx, volumes, pv.DeepCopy(), rule.VolumeProtection, what)
		}
		return frame.Keyed(e, reconcile, frame.On(e.World.PersistentVolumes, frame.Self)), nil
	}}
}

// Attributes protects VolumeAttributesClasses that claims or volumes have.
func Attributes() frame.Definition {
	return frame.Definition{Name: "vacprotection", User: "volumeattributesclass-protection-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		users := volume.Index(e.World)
		classes := frame.Of(e, e.World.VolumeAttributesClasses)
		reconcile := func(ctx context.Context, k key) (time.Duration, error) {
			class := e.World.VolumeAttributesClasses.Get("", k.Name)
			if class == nil {
				return 0, nil
			}
			return 0, apply(ctx, classes, class.DeepCopy(), rule.ClassProtection, finalize(class, rule.ClassProtection, users.Attributes(k.Name)))
		}
		return frame.Keyed(e, reconcile,
			frame.On(e.World.VolumeAttributesClasses, frame.Self[storagev1.VolumeAttributesClass]),
			released(e.World.PersistentVolumeClaims, func(c *corev1.PersistentVolumeClaim) []string { return volume.AttributesOf(c, nil) }),
			released(e.World.PersistentVolumes, func(v *corev1.PersistentVolume) []string { return volume.AttributesOf(nil, v) })), nil
	}}
}

// released wakes the classes that an object had, and has no more.
func released[T any](kind *mirror.Kind[T], of func(*T) []string) frame.Trigger[key] {
	return frame.On(kind, func(old, new *T, add func(key)) {
		if old == nil {
			return
		}
		var now []string
		if new != nil {
			now = of(new)
		}
		for _, name := range of(old) {
			if !slices.Contains(now, name) {
				add(key{Name: name})
			}
		}
	})
}

// apply writes a changed finalizer; next is a copy of the object.
func apply[T any](ctx context.Context, objects frame.Objects[T], next *T, finalizer string, what change) error {
	if what == stay {
		return nil
	}
	with(any(next).(metav1.Object), finalizer, what)
	_, err := objects.Update(ctx, next)
	return gone(err)
}

// gone takes what is not there any more for done.
func gone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
