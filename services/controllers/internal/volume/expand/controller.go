package expand

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	rule "kubus.dev/proto/volume"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/volume/local"
)

type key = types.NamespacedName

// Controller lets volumes grow.
func Controller() frame.Definition {
	return frame.Definition{Name: "volume_expand", User: "expand-controller", Component: "volume_expand",
		Make: func(e *frame.Env) (frame.Loop, error) {
			c := &controller{e, frame.Of(e, e.World.PersistentVolumeClaims), frame.Of(e, e.World.PersistentVolumes), local.Folders{Bus: e.Bus}}
			return frame.Keyed(e, c.reconcile, frame.On(e.World.PersistentVolumeClaims, claimChanged), frame.Reads[key](e.World.Nodes)), nil
		}}
}

type controller struct {
	env     *frame.Env
	claims  frame.Objects[corev1.PersistentVolumeClaim]
	volumes frame.Objects[corev1.PersistentVolume]
	folders local.Folders
}

// claimChanged wakes claims that wish for more than before, or have been bound.
func claimChanged(old, new *corev1.PersistentVolumeClaim, add func(key)) {
	if new == nil || new.Status.Phase != corev1.ClaimBound {
		return
	}
	if old == nil || old.Status.Phase != new.Status.Phase || rule.Request(new).Cmp(*rule.Request(old)) != 0 {
		add(frame.KeyOf(new))
	}
}

func (c *controller) reconcile(ctx context.Context, k key) (time.Duration, error) {
	claim := c.env.World.PersistentVolumeClaims.Get(k.Namespace, k.Name)
	if claim == nil {
		return 0, nil
	}
	pv := c.env.World.PersistentVolumes.Get("", claim.Spec.VolumeName)
	what := plan(claim, pv)
	if what == leave {
		c.env.Events.Normal(c.about(claim), "ExternalExpanding", "waiting for an external controller to expand this PVC")
	}
	if what == ask {
		written, err := c.grow(ctx, claim, pv)
		if err != nil {
			return 0, err
		}
		pv, what = written, tell
	}
	if what != tell {
		return 0, nil
	}
	next := claim.DeepCopy()
	next.Status = grown(claim, *pv.Spec.Capacity.Storage())
	if _, err := c.claims.UpdateStatus(ctx, next); err != nil {
		return 0, fmt.Errorf("telling the claim's new size: %w", err)
	}
	c.env.Events.Normal(c.about(claim), "VolumeResizeSuccessful", "ExpandVolume succeeded for volume %s", k)
	return 0, nil
}

func (c *controller) grow(ctx context.Context, claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) (*corev1.PersistentVolume, error) {
	size := *rule.Request(claim)
	err := errors.New("its node is gone")
	if node := local.NodeOf(pv, c.env.World.Nodes.List("")); node != nil {
		_, err = c.folders.Make(ctx, node.Name, pv.Name, size.Value())
	}
	if err != nil {
		err = fmt.Errorf("error expanding pvc %s/%s: %w", claim.Namespace, claim.Name, err)
		return nil, errors.Join(err, c.refused(ctx, claim, err))
	}
	next := pv.DeepCopy()
	next.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: size}
	written, err := c.volumes.Update(ctx, next)
	if err != nil {
		return nil, fmt.Errorf("error updating pv for pvc %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return written, nil
}

func (c *controller) refused(ctx context.Context, claim *corev1.PersistentVolumeClaim, why error) error {
	c.env.Events.Warning(c.about(claim), "VolumeResizeFailed", "%s", why.Error())
	next := claim.DeepCopy()
	next.Status = stuck(claim, why.Error(), metav1.Now())
	if equality.Semantic.DeepEqual(next.Status, claim.Status) {
		return nil
	}
	_, err := c.claims.UpdateStatus(ctx, next)
	return err
}

func (c *controller) about(claim *corev1.PersistentVolumeClaim) event.Object {
	return event.Object{GroupVersionKind: c.env.World.PersistentVolumeClaims.GVK(), Meta: claim}
}
