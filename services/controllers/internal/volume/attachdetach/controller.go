package attachdetach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	rule "kubus.dev/proto/volume"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/volume"
)

// Controller attaches volumes. Its keys are nodes.
func Controller() frame.Definition {
	return frame.Definition{Name: "attachdetach", User: "attachdetach-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		c := &controller{e, e.World, volume.Index(e.World), frame.Of(e, e.World.VolumeAttachments), frame.Of(e, e.World.Nodes)}
		return frame.Keyed(e, c.reconcile,
			frame.On(e.World.Pods, podChanged),
			frame.On(e.World.VolumeAttachments, c.attachmentChanged),
			frame.On(e.World.Nodes, nodeChanged),
			frame.On(e.World.PersistentVolumeClaims, c.claimChanged),
			frame.Reads[string](e.World.PersistentVolumes, e.World.CSIDrivers)), nil
	}}
}

type controller struct {
	env         *frame.Env
	world       *mirror.World
	users       volume.Users
	attachments frame.Objects[storagev1.VolumeAttachment]
	nodes       frame.Objects[corev1.Node]
}

// podChanged wakes the node where a pod with claims comes or goes.
func podChanged(old, new *corev1.Pod, add func(string)) {
	p := new
	if p == nil {
		p = old
	}
	if p.Spec.NodeName == "" || len(rule.ClaimNames(p)) == 0 ||
		old != nil && new != nil && old.Spec.NodeName == new.Spec.NodeName && pod.Terminal(old) == pod.Terminal(new) {
		return
	}
	add(p.Spec.NodeName)
}

// attachmentChanged wakes its node, and when it is gone the nodes that may have waited.
func (c *controller) attachmentChanged(old, new *storagev1.VolumeAttachment, add func(string)) {
	if new != nil {
		add(new.Spec.NodeName)
		return
	}
	add(old.Spec.NodeName)
	if old.Spec.Source.PersistentVolumeName == nil {
		return
	}
	for _, claim := range c.users.Claims(*old.Spec.Source.PersistentVolumeName) {
		c.wakeUsers(claim, add)
	}
}

func nodeChanged(old, new *corev1.Node, add func(string)) {
	if new != nil && (old == nil || outOfService(old) != outOfService(new) || !equality.Semantic.DeepEqual(old.Status.VolumesInUse, new.Status.VolumesInUse)) {
		add(new.Name)
	}
}

// claimChanged wakes the nodes whose pods got their volume.
func (c *controller) claimChanged(old, new *corev1.PersistentVolumeClaim, add func(string)) {
	if new != nil && rule.Bound(new) && (old == nil || !rule.Bound(old)) {
		c.wakeUsers(new, add)
	}
}

func (c *controller) wakeUsers(claim *corev1.PersistentVolumeClaim, add func(string)) {
	for _, p := range c.users.Pods(frame.KeyOf(claim)) {
		if p.Spec.NodeName != "" {
			add(p.Spec.NodeName)
		}
	}
}

func (c *controller) reconcile(ctx context.Context, name string) (time.Duration, error) {
	node := c.world.Nodes.Get("", name)
	if node == nil {
		return 0, nil // its attachments go with the objects that own them, or by hand, as upstream
	}
	a := plan(node, c.wishes(name), c.world.VolumeAttachments.List(""), func(name string) *corev1.PersistentVolume {
		return c.world.PersistentVolumes.Get("", name)
	})
	var problems error
	for _, w := range a.Refuse {
		c.warn(w, "Multi-Attach error for volume %q Volume is already exclusively attached to one node and can't be attached to another", w.Volume.Name)
	}
	for _, w := range a.Attach {
		_, err := c.attachments.Create(ctx, attachment(w.Volume, name))
		if err != nil && !apierrors.IsAlreadyExists(err) {
			c.warn(w, "AttachVolume.Attach failed for volume %q : %v", w.Volume.Name, err)
			problems = errors.Join(problems, fmt.Errorf("attaching volume %s: %w", w.Volume.Name, err))
		}
	}
	for _, at := range a.Detach {
		if err := c.attachments.Delete(ctx, at, nil); err != nil {
			problems = errors.Join(problems, fmt.Errorf("detaching: %w", err))
		}
	}
	if !equality.Semantic.DeepEqual(a.Attached, node.Status.VolumesAttached) {
		patch := map[string]any{"status": map[string]any{"volumesAttached": a.Attached}}
		if _, err := c.nodes.Patch(ctx, node, patch, "status"); err != nil {
			problems = errors.Join(problems, fmt.Errorf("telling the node: %w", err))
		}
		c.attached(a.Attached, node)
	}
	return 0, problems
}

// attached tells the pods whose volumes the driver has attached since.
func (c *controller) attached(now []corev1.AttachedVolume, node *corev1.Node) {
	for _, w := range c.wishes(node.Name) {
		is := func(v corev1.AttachedVolume) bool { return v.Name == uniqueName(w.Volume) }
		if slices.ContainsFunc(now, is) && !slices.ContainsFunc(node.Status.VolumesAttached, is) {
			c.env.Events.Normal(c.about(w), "SuccessfulAttachVolume", "AttachVolume.Attach succeeded for volume %q ", w.Volume.Name)
		}
	}
}

// wishes are the volumes of drivers that attach, which the node's pods use.
func (c *controller) wishes(node string) []wish {
	var out []wish
	for _, p := range c.world.Pods.ByIndex(mirror.ByNode, node) {
		if pod.Terminal(p) {
			continue
		}
		for i := range p.Spec.Volumes {
			if pv := c.volumeOf(p, &p.Spec.Volumes[i]); pv != nil {
				out = append(out, wish{pv, p})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b wish) int {
		return cmp.Or(a.Pod.CreationTimestamp.Compare(b.Pod.CreationTimestamp.Time), cmp.Compare(a.Pod.UID, b.Pod.UID))
	})
	return out
}

func (c *controller) volumeOf(p *corev1.Pod, v *corev1.Volume) *corev1.PersistentVolume {
	name, ephemeral := rule.ClaimName(p, v)
	claim := c.world.PersistentVolumeClaims.Get(p.Namespace, name)
	if name == "" || claim == nil || !rule.Bound(claim) || ephemeral && rule.MadeFor(p, claim) != nil {
		return nil
	}
	pv := c.world.PersistentVolumes.Get("", claim.Spec.VolumeName)
	if pv == nil || pv.Spec.CSI == nil {
		return nil
	}
	if driver := c.world.CSIDrivers.Get("", pv.Spec.CSI.Driver); driver != nil && driver.Spec.AttachRequired != nil && !*driver.Spec.AttachRequired {
		return nil
	}
	return pv
}

func (c *controller) warn(w wish, format string, args ...any) {
	c.env.Events.Warning(c.about(w), "FailedAttachVolume", format, args...)
}

func (c *controller) about(w wish) event.Object {
	return event.Object{GroupVersionKind: c.world.Pods.GVK(), Meta: w.Pod}
}
