package pod

import (
	"context"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/launch"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/status"
)

// pullErrorShown is how long ErrImagePull stays in the status before it becomes
// ImagePullBackOff.
const pullErrorShown = 2 * time.Second

// image makes sure that the container's image is there.
func (a *attempt) image(ctx context.Context) (*runtime.Image, error) {
	image, present, err := a.ensure(ctx, a.spec.Image, a.spec.ImagePullPolicy)
	a.present = present
	return image, err
}

// ensure makes sure that an image is there; present tells that it was.
func (a *attempt) ensure(ctx context.Context, ref string, policy corev1.PullPolicy) (image *runtime.Image, present bool, err error) {
	if _, err := name.ParseReference(ref); err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: invalid reference format", ref, ref)
		a.event(corev1.EventTypeWarning, "InspectFailed", message)
		return nil, false, &launchError{reason: reasonImageName, message: message}
	}
	if policy != corev1.PullAlways {
		if image, ok := a.d.Runtime.ResolveImage(ref); ok {
			return image, true, nil
		}
	}
	if policy == corev1.PullNever {
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", ref)
		a.event(corev1.EventTypeWarning, "ErrImageNeverPull", message)
		return nil, false, &launchError{reason: reasonNeverPull, message: message}
	}
	image, err = a.pull(ctx, ref)
	return image, false, err
}

func (a *attempt) pull(ctx context.Context, ref string) (*runtime.Image, error) {
	var secrets []*corev1.Secret
	for _, s := range a.pod.Spec.ImagePullSecrets {
		if s.Name == "" {
			continue
		}
		secret, err := a.d.Objects.Secret(ctx, a.pod.Namespace, s.Name)
		if err != nil {
			a.event(corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret", fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", s.Name))
			continue
		}
		secrets = append(secrets, secret)
	}
	credentials, err := launch.Credentials(ref, secrets)
	if err != nil {
		return nil, a.pullFailed(ref, err)
	}
	a.event(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", ref))
	defer a.d.PullEnded()
	began := a.d.now()
	image, err := a.d.Runtime.PullImage(ctx, ref, credentials, nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, a.pullFailed(ref, err)
	}
	a.d.Pulled()
	took := a.d.now().Sub(began).Truncate(time.Millisecond)
	a.event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.", ref, took, took, image.Size))
	return image, nil
}

func (a *attempt) pullFailed(ref string, err error) error {
	a.event(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", ref, err))
	a.event(corev1.EventTypeWarning, "Failed", "Error: "+reasonPull)
	return &launchError{reason: reasonPull, message: err.Error(), pull: true}
}

// flipPull turns a shown ErrImagePull into ImagePullBackOff.
func (w *worker) flipPull(spec *corev1.Container, c *container) {
	c.flipAt = time.Time{}
	if c.busy || c.waiting == nil || c.waiting.Reason != reasonPull {
		return
	}
	message := fmt.Sprintf("Back-off pulling image %q", spec.Image)
	w.event(spec.Name, corev1.EventTypeNormal, "BackOff", message)
	w.event(spec.Name, corev1.EventTypeWarning, "Failed", "Error: "+reasonPullBackOff)
	c.waiting = &status.Reason{Reason: reasonPullBackOff, Message: message + ": " + reasonPull + ": " + c.waiting.Message}
}
