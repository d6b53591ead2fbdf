package binder

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	rule "kubus.dev/proto/volume"
	"kubus.dev/services/controllers/internal/volume/local"
)

// Pauses between tries to provision for a claim.
const (
	firstPause = time.Second
	mostPause  = 5 * time.Minute
)

// provision has a volume made for a claim, by us or by an external provisioner.
func (c *controller) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) (time.Duration, error) {
	class := c.world.StorageClasses.Get("", rule.ClassOf(claim))
	ours, refusal := provisioner(claim, class)
	if refusal != nil {
		c.tellClaim(claim, refusal)
		return 0, c.setClaim(ctx, claim, corev1.ClaimPending, nil)
	}
	next, changed := marked(claim, class.Provisioner)
	if changed {
		var err error
		if claim, err = c.claims.Update(ctx, next); err != nil {
			return 0, fmt.Errorf("marking the claim for its provisioner: %w", err)
		}
	}
	if !ours {
		c.tellClaim(claim, normal("ExternalProvisioning", "Waiting for a volume to be created either by the external provisioner '%s' "+
			"or manually by the system administrator. If volume creation is delayed, please verify that "+
			"the provisioner is running and correctly registered.", class.Provisioner))
		return 0, nil
	}
	if c.world.PersistentVolumes.Get("", volumeName(claim)) != nil {
		return 0, nil // its own change completes the binding
	}
	if wait := c.pausing(claim.UID, time.Now()); wait > 0 {
		return wait, nil
	}
	return c.provisionLocal(ctx, claim, class)
}

func (c *controller) provisionLocal(ctx context.Context, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (time.Duration, error) {
	if err := cannot(claim, class); err != nil {
		c.tellClaim(claim, warning("ProvisioningFailed", "%s", err.Error()))
		return 0, nil
	}
	name, selected := claim.Annotations[rule.SelectedNode]
	if !selected {
		c.tellClaim(claim, warning("ProvisioningFailed", "%s", failed(class, errors.New("no node is selected: volumeBindingMode must be WaitForFirstConsumer")).Error()))
		return 0, nil
	}
	node := c.world.Nodes.Get("", name)
	if node == nil {
		return c.tryLater(ctx, claim, fmt.Errorf("Failed to get target node: node %q not found", name), true) //nolint:staticcheck // upstream's sentence
	}
	path, err := c.folders.Make(ctx, name, volumeName(claim), rule.Request(claim).Value())
	if err != nil {
		// Who did not answer may have made it: another node is chosen only after a no.
		return c.tryLater(ctx, claim, failed(class, err), errors.Is(err, local.ErrRefused))
	}
	pv, err := c.volumes.Create(ctx, localVolume(claim, class, node, path))
	switch {
	case apierrors.IsAlreadyExists(err):
		return 0, nil
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
		c.tellClaim(claim, warning("ProvisioningFailed", "Error creating provisioned PV object for claim %s/%s: %v. Deleting the volume.", claim.Namespace, claim.Name, err))
		if removal := c.folders.Remove(ctx, name, volumeName(claim)); removal != nil {
			c.tellClaim(claim, warning("ProvisioningCleanupFailed", "Error cleaning provisioned volume for claim %s/%s: %v. Please delete manually.", claim.Namespace, claim.Name, removal))
		}
		return c.tryLater(ctx, claim, nil, false)
	case err != nil:
		return 0, fmt.Errorf("creating the volume: %w", err)
	}
	c.mu.Lock()
	delete(c.paused, claim.UID)
	c.mu.Unlock()
	c.tellClaim(claim, normal("ProvisioningSucceeded", "Successfully provisioned volume %s using %s", pv.Name, class.Provisioner))
	return 0, c.bind(ctx, pv, claim)
}

// tryLater tells why there is no volume yet, and with elsewhere lets the scheduler choose
// a node again.
func (c *controller) tryLater(ctx context.Context, claim *corev1.PersistentVolumeClaim, why error, elsewhere bool) (time.Duration, error) {
	if why != nil {
		c.tellClaim(claim, warning("ProvisioningFailed", "%s", why.Error()))
	}
	wait := c.pause(claim.UID, time.Now())
	if !elsewhere {
		return wait, nil
	}
	next := claim.DeepCopy()
	delete(next.Annotations, rule.SelectedNode)
	if _, err := c.claims.Update(ctx, next); err != nil {
		return 0, fmt.Errorf("letting the scheduler choose again: %w", err)
	}
	return wait, nil
}

// pause notes a failure and gives when to try again.
func (c *controller) pause(uid types.UID, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.paused[uid]
	wait := min(firstPause<<min(p.tries, 16), mostPause)
	c.paused[uid] = pause{until: now.Add(wait), tries: p.tries + 1}
	return wait
}

func (c *controller) pausing(uid types.UID, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paused[uid].until.Sub(now)
}
