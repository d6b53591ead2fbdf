// Package cronjob makes Jobs at the times of CronJobs.
//
//	          the time has come                    Forbid: not while one runs
//	[ waiting ] --------------> [ due ] --> (create) --> [ active ] --> Complete, Failed --> (history limits)
//	     ^                         |        Replace: (delete) those that run
//	     +--- startingDeadline ----+
//
// plan decides everything from the objects and the time. Promises: a start is made at
// most once, because its job's name is that of its time; only the latest of several
// missed starts is made; nothing polls, since the next start is one timer. Semantics,
// events and reasons are those of upstream's second controller.
package cronjob

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/job"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// Controller keeps CronJobs.
func Controller() frame.Definition {
	return frame.Definition{Name: "cronjob", User: "cronjob-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		c := &controller{
			world: e.World, crons: frame.Of(e, e.World.CronJobs), jobs: frame.Of(e, e.World.Jobs),
			writer: e.Writer, events: e.Events,
		}
		q := frame.Keyed(e, c.reconcile, frame.Owned(e.World.Jobs, e.World.CronJobs, nil))
		e.Until(frame.On(e.World.CronJobs, func(old, new *batchv1.CronJob, add func(types.NamespacedName)) {
			if old == nil || new == nil || sameTimes(old, new) {
				frame.Self(old, new, add)
				return
			}
			c.rescheduled(new, func(wait time.Duration) { q.AddAfter(frame.KeyOf(new), wait) })
		})(q.Add))
		return q, nil
	}}
}

func sameTimes(a, b *batchv1.CronJob) bool {
	return a.Spec.Schedule == b.Spec.Schedule && ptr.Equal(a.Spec.TimeZone, b.Spec.TimeZone)
}

type controller struct {
	world  *mirror.World
	crons  frame.Objects[batchv1.CronJob]
	jobs   frame.Objects[batchv1.Job]
	writer *write.Client
	events *event.Recorder
}

// rescheduled looks forward to the next start of a new schedule: those that it would
// have had in the past are not made up for.
func (c *controller) rescheduled(cron *batchv1.CronJob, after func(time.Duration)) {
	schedule, err := parse(cron)
	if err != nil {
		c.events.Warning(c.about(cron), "UnParseableCronJobSchedule", "unparseable schedule for cronjob: %s", cron.Spec.Schedule)
		return
	}
	after(untilNext(cron, time.Now(), schedule))
}

func (c *controller) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	cron := c.world.CronJobs.Get(key.Namespace, key.Name)
	if cron == nil {
		return 0, nil
	}
	jobs := c.world.Jobs.ByIndex(mirror.ByController, string(cron.UID))
	gone, err := c.gone(ctx, unseen(cron, jobs))
	if err != nil {
		return 0, err
	}
	d := plan(observed{cron, jobs, gone}, time.Now())
	job.Tell(c.events, c.about(cron), d.Events)
	err = errors.Join(c.remove(ctx, cron, &d), c.start(ctx, cron, &d))
	if errors.As(err, new(*mirror.Behind)) { // the next look finds what was done
		return 0, err
	}
	if !equality.Semantic.DeepEqual(cron.Status, d.Status) {
		update := cron.DeepCopy()
		update.Status = d.Status
		if _, failed := c.crons.UpdateStatus(ctx, update); failed != nil {
			return 0, errors.Join(err, fmt.Errorf("updating status: %w", failed))
		}
	}
	return d.Again, err
}

// gone asks the API which of the jobs it does not have.
func (c *controller) gone(ctx context.Context, refs []corev1.ObjectReference) (map[types.UID]bool, error) {
	out := map[types.UID]bool{}
	for _, ref := range refs {
		switch _, err := job.Read(ctx, c.writer, c.world.Jobs, ref.Namespace, ref.Name); {
		case apierrors.IsNotFound(err):
			out[ref.UID] = true
		case err != nil:
			return nil, err
		}
	}
	return out, nil
}

// remove deletes the jobs beyond the history limits. Upstream, too, goes on when it cannot.
func (c *controller) remove(ctx context.Context, cron *batchv1.CronJob, d *decision) error {
	_, err := c.delete(ctx, cron, d, d.Remove)
	return err
}

// delete deletes jobs in one request; refused is the first refusal.
func (c *controller) delete(ctx context.Context, cron *batchv1.CronJob, d *decision, jobs []*batchv1.Job) (refused, err error) {
	changes := make([]frame.Change[batchv1.Job], len(jobs))
	for i, j := range jobs {
		changes[i] = frame.Deleting(j, &metav1.DeleteOptions{
			PropagationPolicy: ptr.To(metav1.DeletePropagationBackground), Preconditions: write.OnlyUID(j.UID),
		})
	}
	errs, err := c.jobs.Do(ctx, changes...)
	for i, failed := range errs {
		if failed != nil && !apierrors.IsNotFound(failed) && !apierrors.IsConflict(failed) {
			c.events.Warning(c.about(cron), "FailedDelete", "Deleted job: %v", failed)
			refused = errors.Join(refused, failed)
			continue
		}
		d.forget(jobs[i].UID)
		c.events.Normal(c.about(cron), "SuccessfulDelete", "Deleted job %v", jobs[i].Name)
	}
	return refused, err
}

// start makes the job that is due, after those that it replaces are deleted.
func (c *controller) start(ctx context.Context, cron *batchv1.CronJob, d *decision) error {
	if d.Start == nil {
		return nil
	}
	var replaced []*batchv1.Job
	for _, ref := range d.Replace {
		replaced = append(replaced, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name, UID: ref.UID}})
	}
	if refused, err := c.delete(ctx, cron, d, replaced); refused != nil || err != nil {
		return errors.Join(refused, err)
	}
	made, err := c.jobs.Create(ctx, jobOf(cron, *d.Start))
	switch {
	case err == nil:
		c.events.Normal(c.about(cron), "SuccessfulCreate", "Created job %v", made.Name)
	case apierrors.IsAlreadyExists(err):
		if made, err = job.Read(ctx, c.writer, c.world.Jobs, cron.Namespace, nameOf(cron, *d.Start)); err != nil {
			return err
		}
		if !metav1.IsControlledBy(made, cron) || listed(d.Status.Active, made.UID) {
			return nil
		}
	default:
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) && !errors.As(err, new(*mirror.Behind)) {
			c.events.Warning(c.about(cron), "FailedCreate", "Error creating job: %v", err)
		}
		return err
	}
	d.Status.Active = append(d.Status.Active, corev1.ObjectReference{
		APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "Job", Namespace: made.Namespace, Name: made.Name, UID: made.UID, ResourceVersion: made.ResourceVersion,
	})
	d.Status.LastScheduleTime = &metav1.Time{Time: *d.Start}
	return nil
}

func (c *controller) about(cron *batchv1.CronJob) event.Object {
	return event.Object{GroupVersionKind: kind, Meta: cron}
}
