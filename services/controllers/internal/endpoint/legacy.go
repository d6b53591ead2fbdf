//lint:file-ignore SA1019 Endpoints are deprecated, and kept for those who still read them.

package endpoint

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
)

// Legacy keeps the Endpoints of services with a selector, and removes those whose
// service is gone.
func Legacy() frame.Definition {
	return frame.Definition{Name: "endpoints", User: "endpoint-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		c := &legacyController{e.World, frame.Of(e, e.World.Endpoints), e.Events, newTriggers()}
		return frame.Keyed(e, c.reconcile, members(e.World),
			frame.On(e.World.Endpoints, func(old, new *corev1.Endpoints, add func(types.NamespacedName)) {
				if new == nil {
					new = old
				}
				if new.Labels[legacyManagedBy] == legacyManager { // left over of services deleted while nobody looked, or ours and edited
					add(frame.KeyOf(new))
				}
			})), nil
	}}
}

type legacyController struct {
	world     *mirror.World
	endpoints frame.Objects[corev1.Endpoints]
	events    *event.Recorder
	triggers  *triggers
}

func (c *legacyController) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	service := c.world.Services.Get(key.Namespace, key.Name)
	present := c.world.Endpoints.Get(key.Namespace, key.Name)
	if service == nil {
		c.triggers.forget(key)
		return 0, c.remove(ctx, present)
	}
	if !selects(service) || service.DeletionTimestamp != nil {
		return 0, nil
	}
	pods := selected(c.world, service)
	changed := c.triggers.latest(service, pods)
	wanted := subsets(service, pods)
	if present != nil && upToDate(present, wanted, service) {
		return 0, nil
	}
	next := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if present != nil {
		next = present.DeepCopy()
	}
	next.Annotations = annotateTrigger(next.Annotations, changed)
	delete(next.Annotations, corev1.EndpointsOverCapacity)
	if truncate(wanted) {
		if next.Annotations == nil {
			next.Annotations = map[string]string{}
		}
		next.Annotations[corev1.EndpointsOverCapacity] = truncated
		if present != nil && present.Annotations[corev1.EndpointsOverCapacity] == truncated && legacyLabelsCorrect(present.Labels, service.Labels) &&
			fmt.Sprint(normal(present.Subsets)) == fmt.Sprint(normal(wanted)) {
			return 0, nil
		}
	}
	next.Subsets, next.Labels = wanted, legacyLabels(service)
	return 0, c.write(ctx, service, next, present == nil)
}

func (c *legacyController) write(ctx context.Context, service *corev1.Service, next *corev1.Endpoints, create bool) error {
	send, reason, failed := c.endpoints.Create, "FailedToCreateEndpoint", "Failed to create endpoint for service"
	if !create {
		send, reason, failed = c.endpoints.Update, "FailedToUpdateEndpoint", "Failed to update endpoint"
	}
	_, err := send(ctx, next)
	if err != nil {
		if create && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		about := event.Object{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Endpoints"), Meta: next}
		if !apierrors.IsConflict(err) {
			c.events.Warning(about, reason, "%s %s/%s: %v", failed, service.Namespace, service.Name, err)
		}
		return fmt.Errorf("writing endpoints: %w", err)
	}
	return nil
}

func (c *legacyController) remove(ctx context.Context, present *corev1.Endpoints) error {
	if present == nil || present.DeletionTimestamp != nil {
		return nil
	}
	if _, lock := present.Annotations[leaderRecord]; lock {
		return nil
	}
	if err := c.endpoints.Delete(ctx, present, nil); err != nil {
		return fmt.Errorf("deleting endpoints of no service: %w", err)
	}
	return nil
}
