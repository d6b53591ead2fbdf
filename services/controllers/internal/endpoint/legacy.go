//lint:file-ignore SA1019 Endpoints are deprecated, and kept for those who still read them.

package endpoint

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

// Legacy keeps the Endpoints of services with a selector, and removes those whose
// service is gone.
type Legacy struct {
	world    *mirror.World
	writer   *write.Client
	events   *event.Recorder
	logger   *zap.Logger
	queue    *queue.Queue[types.NamespacedName]
	triggers *triggers
}

// NewLegacy returns a controller that hears of changes in world.
func NewLegacy(world *mirror.World, writer *write.Client, events *event.Recorder, logger *zap.Logger) *Legacy {
	c := &Legacy{world, writer, events, logger, queue.New[types.NamespacedName](), newTriggers()}
	watch(world, c.queue.Add)
	world.Endpoints.Handle(func(old, new *corev1.Endpoints) {
		if new == nil {
			new = old
		}
		if new.Labels[legacyManagedBy] == legacyManager { // left over of services deleted while nobody looked, or ours and edited
			c.queue.Add(types.NamespacedName{Namespace: new.Namespace, Name: new.Name})
		}
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Legacy) Run(ctx context.Context, workers int) error {
	c.queue.Run(ctx, workers, c.logger, c.reconcile)
	return nil
}

func (c *Legacy) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	service := c.world.Services.Get(key.Namespace, key.Name)
	present := c.world.Endpoints.Get(key.Namespace, key.Name)
	if service == nil {
		c.triggers.forget(key)
		return 0, c.remove(ctx, present)
	}
	if !selects(service) || service.DeletionTimestamp != nil {
		return 0, nil
	}
	pods := members(c.world, service)
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

func (c *Legacy) write(ctx context.Context, service *corev1.Service, next *corev1.Endpoints, create bool) error {
	next.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Endpoints"}
	path := write.Path("", "v1", next.Namespace, "endpoints")
	build, reason, failed := write.Create, "FailedToCreateEndpoint", "Failed to create endpoint for service"
	if !create {
		path = write.Path("", "v1", next.Namespace, "endpoints", next.Name)
		build, reason, failed = write.Update, "FailedToUpdateEndpoint", "Failed to update endpoint"
	}
	request, err := build(path, next)
	if err != nil {
		return err
	}
	body, err := c.writer.One(ctx, request)
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
	return c.world.Endpoints.WaitRevision(ctx, write.Revision(body))
}

func (c *Legacy) remove(ctx context.Context, present *corev1.Endpoints) error {
	if present == nil || present.DeletionTimestamp != nil {
		return nil
	}
	if _, lock := present.Annotations[leaderRecord]; lock {
		return nil
	}
	request, err := write.Delete(write.Path("", "v1", present.Namespace, "endpoints", present.Name), &metav1.DeleteOptions{Preconditions: write.OnlyUID(present.UID)})
	if err != nil {
		return err
	}
	if _, err := c.writer.One(ctx, request); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting endpoints of no service: %w", err)
	}
	return nil
}
