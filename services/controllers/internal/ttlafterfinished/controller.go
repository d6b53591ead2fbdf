// Package ttlafterfinished deletes Jobs that have been finished for their
// ttlSecondsAfterFinished.
//
//	[ runs ] -- Complete, Failed --> [ kept ] -- the time is over --> (delete, in the foreground)
//
// Promise: no job goes early. What the mirror shows may be old, so the API is asked
// once more before, and the deletion holds for the very version that it gave.
package ttlafterfinished

import (
	"context"
	"errors"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/job"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

// Controller deletes finished Jobs.
func Controller() frame.Definition {
	return frame.Definition{Name: "ttl-after-finished", User: "ttl-after-finished-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		c := &controller{kind: e.World.Jobs, jobs: frame.Of(e, e.World.Jobs), writer: e.Writer}
		return frame.Keyed(e, c.reconcile, frame.On(e.World.Jobs, frame.Self)), nil
	}}
}

type controller struct {
	kind   *mirror.Kind[batchv1.Job]
	jobs   frame.Objects[batchv1.Job]
	writer *write.Client
}

func (c *controller) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	known := c.kind.Get(key.Namespace, key.Name)
	if known == nil {
		return 0, nil
	}
	if wait, expires, err := check(known); !expires || wait > 0 || err != nil {
		return wait, err
	}
	fresh, err := job.Read(ctx, c.writer, c.kind, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if wait, expires, err := check(fresh); !expires || wait > 0 || err != nil {
		return wait, err
	}
	return 0, c.jobs.Delete(ctx, fresh, &metav1.DeleteOptions{
		PropagationPolicy: ptr.To(metav1.DeletePropagationForeground),
		Preconditions:     &metav1.Preconditions{UID: &fresh.UID, ResourceVersion: &fresh.ResourceVersion},
	})
}

func check(j *batchv1.Job) (wait time.Duration, expires bool, err error) {
	wait, expires, err = left(j, time.Now())
	if err != nil {
		err = errors.Join(queue.ErrDrop, err)
	}
	return wait, expires, err
}
