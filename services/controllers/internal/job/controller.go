// Package job runs the pods of Jobs to their end, and counts each of them once.
//
//	            parallelism, completions                       the finalizer is gone
//	[ missing ] ---------------------> [ active ] --> [ ended ] --> [ in the status ] --> [ counted ]
//	     ^        (create)    (discard) |   |              listed by UID, or by index
//	     +---------- back-off ----------+   | FailureTarget, SuccessCriteriaMet: (end)
//	                                        v
//	                                  [ terminating ] ---- all ended and counted --> Failed, Complete
//
// plan says what is next for a job, one step at a time; the reconciler takes the steps
// and looks again after each, so that every state between two writes is one that it
// starts from as well. Promises: a pod that ended while it had the finalizer
// batch.kubernetes.io/job-tracking is in the counts of its job exactly once, whatever
// dies when (sim_test.go); never one active pod too many; what decided a job
// stays decided. Semantics, events and conditions are those of upstream's controller.
package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/claim"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	podpkg "kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/podcontrol"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

// gather is how long a job waits after a change of its pods for more of them: many end
// at about the same time.
const gather = 50 * time.Millisecond

// Controller keeps Jobs, and takes the finalizer from pods that no job counts any more.
func Controller() frame.Definition {
	return frame.Definition{Name: "job", User: "job-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		l := &live{
			world: e.World, views: e.Views, jobs: frame.Of(e, e.World.Jobs), control: podcontrol.New(e),
			writer: e.Writer, events: e.Events,
		}
		jobs := frame.Keyed(e, newReconciler(l, time.Now).reconcile)
		later := func(key types.NamespacedName) { jobs.AddAfter(key, gather) }
		e.Until(frame.On(e.World.Jobs, func(old, new *batchv1.Job, add func(types.NamespacedName)) {
			if old != nil && new != nil && old.Generation == new.Generation { // a status, mostly our own
				add = later
			}
			frame.Self(old, new, add)
		})(jobs.Add))
		e.Until(frame.Owned(e.World.Pods, e.World.Jobs, selectorOf)(later))

		orphans := frame.Keyed(e, l.freeOrphans, frame.On(e.World.Pods, l.orphaned), frame.On(e.World.Jobs, countsNoMore))
		e.Go(func(ctx context.Context) error { return orphans.Run(ctx, 1) })
		return jobs, nil
	}}
}

func selectorOf(job *batchv1.Job) (labels.Selector, error) { return claim.Selector(job.Spec.Selector) }

// live is the real cluster.
type live struct {
	world   *mirror.World
	views   *statelog.Views
	jobs    frame.Objects[batchv1.Job]
	control *podcontrol.Control
	writer  *write.Client
	events  *event.Recorder
}

func (l *live) find(key types.NamespacedName) *batchv1.Job {
	return l.world.Jobs.Get(key.Namespace, key.Name)
}

func (l *live) pods(ctx context.Context, job *batchv1.Job) ([]*corev1.Pod, error) {
	selector, err := selectorOf(job)
	if err != nil {
		return nil, errors.Join(queue.ErrDrop, fmt.Errorf("job %s/%s: %w", job.Namespace, job.Name, err))
	}
	if err := l.world.Pods.CatchUp(ctx, l.views); err != nil {
		return nil, err
	}
	owner := claim.Owner{
		Object: job, Kind: l.world.Jobs.GVK(), Path: l.world.Jobs.Path(job.Namespace, job.Name), Selector: selector,
		Finalizers: []string{batchv1.JobTrackingFinalizer},
	}
	pods := append(l.world.Pods.ByIndex(mirror.ByController, string(job.UID)), l.world.Pods.ByIndex(mirror.ByOrphanage, job.Namespace)...)
	return claim.Settle(ctx, l.writer, owner, l.world.Pods, claim.Of(owner, pods))
}

func (l *live) create(ctx context.Context, job *batchv1.Job, births []birth) error {
	template := templateOf(job)
	pods := make([]*corev1.Pod, len(births))
	for i, b := range births {
		pods[i] = podcontrol.FromTemplate(job, l.world.Jobs.GVK(), template)
		if b.Index != noIndex {
			pods[i].GenerateName = prefixOf(job, b.Index)
			place(job, pods[i], b)
		}
	}
	errs, late := l.control.Create(ctx, l.about(job), pods)
	if late != nil {
		return late
	}
	return first(errs, func(err error) bool { return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) })
}

func (l *live) remove(ctx context.Context, job *batchv1.Job, pods []*corev1.Pod) error {
	errs, late := l.control.Delete(ctx, l.about(job), pods)
	if late != nil {
		return late
	}
	if err := first(errs, func(error) bool { return false }); err != nil {
		return fmt.Errorf("unable to delete pods: %w", err)
	}
	return nil
}

// first is the first of errors that matters; they are often all the same.
func first(errs []error, ignored func(error) bool) error {
	for _, err := range errs {
		if err != nil && !ignored(err) {
			return err
		}
	}
	return nil
}

func (l *live) release(ctx context.Context, pods []*corev1.Pod) error {
	pods = slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return !tracked(p) })
	requests := make([]apiclient.Request, len(pods))
	for i, p := range pods {
		var err error
		if requests[i], err = write.Strategic(l.world.Pods.Path(p.Namespace, p.Name), withoutFinalizer(p)); err != nil {
			return err
		}
	}
	results, err := l.writer.Do(ctx, requests...)
	if err != nil {
		return err
	}
	var newest uint64
	errs := make([]error, len(results))
	for i, result := range results {
		if errs[i] = result.Err; result.Err == nil {
			newest = max(newest, write.Revision(result.Body))
		}
	}
	// A pod that is gone, or another by now, needs no release.
	refused := first(errs, func(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsInvalid(err) })
	return errors.Join(refused, l.world.Pods.WaitRevision(ctx, newest))
}

// withoutFinalizer is a patch. That of a pod that has not ended holds only for the pod
// as it is known.
func withoutFinalizer(p *corev1.Pod) any {
	meta := map[string]any{"uid": p.UID, "$deleteFromPrimitiveList/finalizers": []string{batchv1.JobTrackingFinalizer}}
	if !podpkg.Terminal(p) {
		meta["resourceVersion"] = p.ResourceVersion
	}
	return map[string]any{"metadata": meta}
}

func (l *live) report(ctx context.Context, job *batchv1.Job, status batchv1.JobStatus) error {
	update := job.DeepCopy()
	update.Status = status
	_, err := l.jobs.UpdateStatus(ctx, update)
	return err
}

func (l *live) tell(job *batchv1.Job, events []Occurrence) { Tell(l.events, l.about(job), events) }

func (l *live) about(job *batchv1.Job) event.Object {
	return event.Object{GroupVersionKind: l.world.Jobs.GVK(), Meta: job}
}
