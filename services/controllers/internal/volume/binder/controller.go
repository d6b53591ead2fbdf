package binder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	rule "kubus.dev/proto/volume"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/volume"
	"kubus.dev/services/controllers/internal/volume/local"
)

// key is a claim, or with no namespace a volume.
type key = types.NamespacedName

// Controller binds claims and volumes.
func Controller() frame.Definition {
	return frame.Definition{Name: "persistentvolume-binder", User: "persistent-volume-binder", Component: "persistentvolume-controller",
		Make: func(e *frame.Env) (frame.Loop, error) { return newController(e).loop(e), nil }}
}

type controller struct {
	env     *frame.Env
	world   *mirror.World
	users   volume.Users
	claims  frame.Objects[corev1.PersistentVolumeClaim]
	volumes frame.Objects[corev1.PersistentVolume]
	folders local.Folders

	mu     sync.Mutex
	paused map[types.UID]pause // claims whose provisioning failed
}

// pause keeps a claim from being provisioned again at once, on whatever node.
type pause struct {
	until time.Time
	tries int
}

func newController(e *frame.Env) *controller {
	return &controller{
		env: e, world: e.World, users: volume.Index(e.World),
		claims: frame.Of(e, e.World.PersistentVolumeClaims), volumes: frame.Of(e, e.World.PersistentVolumes),
		folders: local.Folders{Bus: e.Bus}, paused: map[types.UID]pause{},
	}
}

func (c *controller) loop(e *frame.Env) frame.Loop {
	return frame.Keyed(e, c.reconcile,
		frame.On(e.World.PersistentVolumeClaims, c.claimChanged),
		frame.On(e.World.PersistentVolumes, c.volumeChanged),
		frame.On(e.World.StorageClasses, c.classChanged),
		frame.On(e.World.Pods, podChanged),
		frame.Reads[key](e.World.Nodes))
}

// claimChanged wakes the claim and the volumes that have to do with it.
func (c *controller) claimChanged(old, new *corev1.PersistentVolumeClaim, add func(key)) {
	for _, claim := range []*corev1.PersistentVolumeClaim{old, new} {
		if claim == nil {
			continue
		}
		if claim.Spec.VolumeName != "" {
			add(key{Name: claim.Spec.VolumeName})
		}
		for _, pv := range c.users.Referring(frame.KeyOf(claim)) {
			add(key{Name: pv.Name})
		}
	}
	frame.Self(old, new, add)
	if new == nil {
		c.mu.Lock()
		delete(c.paused, old.UID)
		c.mu.Unlock()
	}
}

// volumeChanged wakes the volume, the claims that have to do with it, and when it becomes
// free those that may want it.
func (c *controller) volumeChanged(old, new *corev1.PersistentVolume, add func(key)) {
	frame.Self(old, new, add)
	for _, pv := range []*corev1.PersistentVolume{old, new} {
		if pv == nil {
			continue
		}
		if ref := pv.Spec.ClaimRef; ref != nil {
			add(key{Namespace: ref.Namespace, Name: ref.Name})
		}
		for _, claim := range c.users.Claims(pv.Name) {
			add(frame.KeyOf(claim))
		}
	}
	free := func(pv *corev1.PersistentVolume) bool {
		return pv != nil && pv.Spec.ClaimRef == nil && pv.Status.Phase == corev1.VolumeAvailable
	}
	if free(new) && (!free(old) || !equality.Semantic.DeepEqual(old.Spec, new.Spec) || !equality.Semantic.DeepEqual(old.Labels, new.Labels)) {
		for _, claim := range c.users.Waiting(rule.ClassOfVolume(new)) {
			add(frame.KeyOf(claim))
		}
	}
}

// classChanged wakes the claims of the class, and those of none that may get it.
func (c *controller) classChanged(old, new *storagev1.StorageClass, add func(key)) {
	class := new
	if class == nil {
		class = old
	}
	for _, name := range []string{class.Name, ""} {
		for _, claim := range c.users.Waiting(name) {
			add(frame.KeyOf(claim))
		}
	}
}

// podChanged wakes the claims that a new pod waits for, so that they tell of it.
func podChanged(old, new *corev1.Pod, add func(key)) {
	if old != nil || new.Spec.NodeName != "" {
		return
	}
	for _, name := range rule.ClaimNames(new) {
		add(key{Namespace: new.Namespace, Name: name})
	}
}

func (c *controller) reconcile(ctx context.Context, k key) (time.Duration, error) {
	if k.Namespace == "" {
		if pv := c.world.PersistentVolumes.Get("", k.Name); pv != nil {
			return 0, c.syncVolume(ctx, pv)
		}
		return 0, nil
	}
	if claim := c.world.PersistentVolumeClaims.Get(k.Namespace, k.Name); claim != nil {
		return c.syncClaim(ctx, claim)
	}
	return 0, nil
}

func (c *controller) syncClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) (time.Duration, error) {
	d := decide(claim, c.around(claim))
	changed := d.Phase != "" && d.Phase != claim.Status.Phase
	switch {
	case d.Bind != nil:
		return 0, c.bind(ctx, d.Bind, claim)
	case d.Class != "":
		next := claim.DeepCopy()
		next.Spec.StorageClassName = &d.Class
		_, err := c.claims.Update(ctx, next)
		return 0, err
	case d.Provision:
		return c.provision(ctx, claim)
	}
	if d.Phase != "" {
		if err := c.setClaim(ctx, claim, d.Phase, nil); err != nil {
			return 0, err
		}
	}
	if d.Event != nil && (changed || d.Phase != corev1.ClaimLost) {
		c.tellClaim(claim, d.Event)
	}
	return 0, d.Err
}

func (c *controller) around(claim *corev1.PersistentVolumeClaim) around {
	class := rule.ClassOf(claim)
	a := around{
		Candidates: slices.Concat(c.users.OfClass(class), c.users.Referring(frame.KeyOf(claim))),
		Default:    defaultClass(c.world.StorageClasses.List("")),
	}
	if claim.Spec.VolumeName != "" {
		a.Volume = c.world.PersistentVolumes.Get("", claim.Spec.VolumeName)
	}
	if class != "" {
		a.Class = c.world.StorageClasses.Get("", class)
	}
	for _, p := range c.users.Pods(frame.KeyOf(claim)) {
		if p.Spec.NodeName == "" && !pod.Terminal(p) {
			a.Unplaced = append(a.Unplaced, p.Name)
		}
	}
	slices.Sort(a.Unplaced)
	return a
}

// bind completes the binding from whatever point it is at, the volume first: only one
// claim can win it.
func (c *controller) bind(ctx context.Context, pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) error {
	if next, changed := rule.Referring(pv, claim); changed {
		var err error
		if pv, err = c.volumes.Update(ctx, next); err != nil {
			return fmt.Errorf("binding volume %s: %w", next.Name, err)
		}
	}
	pv, err := c.setPhase(ctx, pv, corev1.VolumeBound, "")
	if err != nil {
		return err
	}
	if next, changed := bound(claim, pv); changed {
		if claim, err = c.claims.Update(ctx, next); err != nil {
			return fmt.Errorf("binding claim: %w", err)
		}
	}
	return c.setClaim(ctx, claim, corev1.ClaimBound, pv)
}

func (c *controller) setClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, pv *corev1.PersistentVolume) error {
	status := statusOf(claim, phase, pv)
	if equality.Semantic.DeepEqual(status, claim.Status) {
		return nil
	}
	next := claim.DeepCopy()
	next.Status = status
	if _, err := c.claims.UpdateStatus(ctx, next); err != nil {
		return fmt.Errorf("setting the claim's phase %s: %w", phase, err)
	}
	return nil
}

func (c *controller) setPhase(ctx context.Context, pv *corev1.PersistentVolume, phase corev1.PersistentVolumePhase, message string) (*corev1.PersistentVolume, error) {
	if pv.Status.Phase == phase {
		return pv, nil
	}
	next := pv.DeepCopy()
	next.Status.Phase, next.Status.Message = phase, message
	written, err := c.volumes.UpdateStatus(ctx, next)
	if err != nil {
		return nil, fmt.Errorf("setting the volume's phase %s: %w", phase, err)
	}
	return written, nil
}

func (c *controller) syncVolume(ctx context.Context, pv *corev1.PersistentVolume) error {
	claim, err := c.claimOf(ctx, pv)
	if err != nil {
		return err
	}
	v := judge(pv, claim)
	if v.Event != nil {
		c.tell(pv, v.Event)
	}
	if v.ToClaim != nil {
		c.tellClaim(claim, v.ToClaim)
	}
	if v.Unbind {
		if pv, err = c.volumes.Update(ctx, unbound(pv)); err != nil {
			return fmt.Errorf("unbinding the volume: %w", err)
		}
		_, err = c.setPhase(ctx, pv, corev1.VolumeAvailable, "")
		return err
	}
	if v.Phase != "" {
		if pv, err = c.setPhase(ctx, pv, v.Phase, ""); err != nil {
			return err
		}
	}
	if v.Reclaim {
		return c.reclaim(ctx, pv)
	}
	return nil
}

// claimOf is the claim that a volume refers to. That it is gone, or another one, is asked
// of the API itself: the mirror of claims may be behind that of volumes, and a volume is
// not reclaimed by mistake.
func (c *controller) claimOf(ctx context.Context, pv *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	ref := pv.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		return nil, nil
	}
	claim := c.world.PersistentVolumeClaims.Get(ref.Namespace, ref.Name)
	if claim != nil && claim.UID == ref.UID {
		return claim, nil
	}
	body, err := c.env.Writer.Read(ctx, c.world.PersistentVolumeClaims.Path(ref.Namespace, ref.Name))
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the volume's claim: %w", err)
	}
	claim = &corev1.PersistentVolumeClaim{}
	if err := json.Unmarshal(body, claim); err != nil {
		return nil, fmt.Errorf("looking for the volume's claim: %w", err)
	}
	return claim, nil
}

// reclaim acts by the policy of a released volume.
func (c *controller) reclaim(ctx context.Context, pv *corev1.PersistentVolume) error {
	who, problem := reclaim(pv)
	if problem != nil {
		return c.fail(ctx, pv, problem)
	}
	if who != ours {
		return nil
	}
	// A node that is no more took its disk with it.
	if node := local.NodeOf(pv, c.world.Nodes.List("")); node != nil {
		if err := c.folders.Remove(ctx, node.Name, pv.Name); err != nil {
			return errors.Join(err, c.fail(ctx, pv, warning("VolumeFailedDelete", "%s", err.Error())))
		}
	}
	if i := slices.Index(pv.Finalizers, rule.RemovalProtection); i >= 0 {
		next := pv.DeepCopy()
		next.Finalizers = slices.Delete(next.Finalizers, i, i+1)
		written, err := c.volumes.Update(ctx, next)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("releasing the volume: %w", err)
		}
		pv = written
	}
	if pv.DeletionTimestamp != nil {
		return nil
	}
	return c.volumes.Delete(ctx, pv, nil)
}

// fail shows the user, once, that something went wrong.
func (c *controller) fail(ctx context.Context, pv *corev1.PersistentVolume, why *note) error {
	if pv.Status.Phase == corev1.VolumeFailed {
		return nil
	}
	if _, err := c.setPhase(ctx, pv, corev1.VolumeFailed, why.text); err != nil {
		return err
	}
	c.tell(pv, why)
	return nil
}

func (c *controller) tell(pv *corev1.PersistentVolume, n *note) {
	c.record(event.Object{GroupVersionKind: c.world.PersistentVolumes.GVK(), Meta: pv}, n)
}

func (c *controller) tellClaim(claim *corev1.PersistentVolumeClaim, n *note) {
	c.record(event.Object{GroupVersionKind: c.world.PersistentVolumeClaims.GVK(), Meta: claim}, n)
}

func (c *controller) record(about event.Object, n *note) {
	if n.kind == corev1.EventTypeWarning {
		c.env.Events.Warning(about, n.reason, "%s", n.text)
		return
	}
	c.env.Events.Normal(about, n.reason, "%s", n.text)
}
