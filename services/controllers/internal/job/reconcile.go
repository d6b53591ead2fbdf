package job

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/mirror"
)

// stepsAtOnce bounds how long one job keeps a worker; others have their turn then.
const stepsAtOnce = 16

// cluster is what the reconciler does things to. Each method returns when what it
// wrote would be observed, or with a *mirror.Behind.
type cluster interface {
	// find gives a job; nil when it is not there.
	find(key types.NamespacedName) *batchv1.Job
	// pods are those that a job controls, after adopting and releasing, as of the
	// point of the log at which the job was found, or a later one.
	pods(ctx context.Context, job *batchv1.Job) ([]*corev1.Pod, error)
	create(ctx context.Context, job *batchv1.Job, births []birth) error
	remove(ctx context.Context, job *batchv1.Job, pods []*corev1.Pod) error
	// release takes the finalizer from pods; from one that had not ended only if it is
	// still as observed, since it may have ended meanwhile in a way that counts.
	release(ctx context.Context, pods []*corev1.Pod) error
	// report writes a status, on the condition that the job has not changed.
	report(ctx context.Context, job *batchv1.Job, status batchv1.JobStatus) error
	tell(job *batchv1.Job, events []Occurrence)
}

// reconciler brings jobs on, step by step.
type reconciler struct {
	cluster cluster
	now     func() time.Time

	mu     sync.Mutex
	memory map[types.NamespacedName]memory
}

// memory is the back-off of the job of that UID.
type memory struct {
	uid types.UID
	backoff
}

func newReconciler(c cluster, now func() time.Time) *reconciler {
	return &reconciler{cluster: c, now: now, memory: map[types.NamespacedName]memory{}}
}

// reconcile takes steps until there is none to take. When pods cannot be made or
// removed the counting goes on all the same, and the error asks for another try.
func (r *reconciler) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	var refused error
	for range stepsAtOnce {
		job := r.cluster.find(key)
		if job == nil || Finished(job) || foreign(job) {
			r.forget(key)
			return 0, refused
		}
		if known := r.understands(job); !known {
			return 0, nil
		}
		pods, err := r.cluster.pods(ctx, job)
		if err != nil {
			return 0, errors.Join(refused, err)
		}
		next, backoff := plan(observed{job, pods, r.recall(key, job.UID)}, refused == nil, r.now())
		r.remember(key, memory{job.UID, backoff})
		if next.none() {
			return next.Again, refused
		}
		switch err := r.do(ctx, job, next); {
		case err == nil:
		case next.manages() && !errors.As(err, new(*mirror.Behind)):
			refused = err
		default:
			return 0, errors.Join(refused, err)
		}
	}
	return time.Nanosecond, refused
}

// do carries out a step.
func (r *reconciler) do(ctx context.Context, job *batchv1.Job, s step) error {
	switch {
	case len(s.Create) > 0:
		return r.cluster.create(ctx, job, s.Create)
	case len(s.Discard) > 0: // not to be counted, so the finalizer goes first
		if err := r.cluster.release(ctx, s.Discard); err != nil {
			return fmt.Errorf("removing completion finalizer: %w", err)
		}
		return r.cluster.remove(ctx, job, s.Discard)
	case len(s.End) > 0:
		return r.cluster.remove(ctx, job, s.End)
	case s.Status != nil:
		if err := r.cluster.report(ctx, job, *s.Status); err != nil {
			return fmt.Errorf("tracking status: %w", err)
		}
		r.cluster.tell(job, s.Events)
		return nil
	}
	if err := r.cluster.release(ctx, s.Release); err != nil {
		return fmt.Errorf("removing tracking finalizer: %w", err)
	}
	return nil
}

// understands is false of a completion mode of the future.
func (r *reconciler) understands(job *batchv1.Job) bool {
	mode := job.Spec.CompletionMode
	if mode == nil || *mode == batchv1.NonIndexedCompletion || *mode == batchv1.IndexedCompletion {
		return true
	}
	r.cluster.tell(job, []Occurrence{{corev1.EventTypeWarning, "UnknownCompletionMode", "Skipped Job sync because completion mode is unknown"}})
	return false
}

// foreign jobs are another controller's.
func foreign(job *batchv1.Job) bool {
	return job.Spec.ManagedBy != nil && *job.Spec.ManagedBy != batchv1.JobControllerName
}

func (r *reconciler) recall(key types.NamespacedName, uid types.UID) backoff {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.memory[key]; m.uid == uid {
		return m.backoff
	}
	return backoff{}
}

func (r *reconciler) remember(key types.NamespacedName, m memory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.memory[key] = m
}

func (r *reconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.memory, key)
}
