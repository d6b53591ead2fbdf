package job

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	podpkg "kubus.dev/services/controllers/internal/pod"
)

// maxUncounted bounds the UIDs in a status, so that it stays below some 20 KB.
const maxUncounted = 500

// Finished is true of a job that is Complete or Failed.
func Finished(job *batchv1.Job) bool { return Outcome(job) != nil }

// Outcome is the condition that finished a job: Complete or Failed; nil while it runs.
func Outcome(job *batchv1.Job) *batchv1.JobCondition {
	for i := range job.Status.Conditions {
		if c := &job.Status.Conditions[i]; (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// decided is the condition by which a status says how the job will end; nil while it is open.
func decided(status *batchv1.JobStatus) *batchv1.JobCondition {
	for _, kind := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget} {
		if c := find(status.Conditions, kind); c != nil && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// verdict is how the job will end; nil while it is open. What was decided once stays.
func (t *tally) verdict(now time.Time) *batchv1.JobCondition {
	if c := decided(&t.job.Status); c != nil {
		return c
	}
	fail := func(reason, message string) *batchv1.JobCondition {
		return condition(batchv1.JobFailureTarget, corev1.ConditionTrue, reason, message, now)
	}
	spec := &t.job.Spec
	if message := t.fatal(); message != "" {
		return fail(batchv1.JobReasonPodFailurePolicy, message)
	}
	if t.failed > int(ptr.Deref(spec.BackoffLimit, 6)) || t.restartedTooOften() {
		return fail(batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	}
	if t.job.Status.StartTime != nil && t.limited() && t.deadline(now) <= 0 {
		return fail(batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	}
	if t.given != nil {
		lost := t.given.count()
		if spec.MaxFailedIndexes != nil && lost > int(*spec.MaxFailedIndexes) {
			return fail(batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
		}
		if lost > 0 && lost+t.completed.count() >= int(*spec.Completions) {
			return fail(batchv1.JobReasonFailedIndexes, "Job has failed indexes")
		}
	}
	if r := succeeds(t.job, t.completed); r >= 0 {
		return condition(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, batchv1.JobReasonSuccessPolicy, fmt.Sprintf("Matched rules at index %d", r), now)
	}
	return nil
}

// fatal is why a failed pod fails the job by its podFailurePolicy.
func (t *tally) fatal() string {
	for _, p := range t.pods {
		if t.fails(p) {
			if message := rule(t.job, p).failJob; message != "" {
				return message
			}
		}
	}
	return ""
}

// restartedTooOften compares the restarts of containers, where pods restart them by
// themselves, with backoffLimit.
func (t *tally) restartedTooOften() bool {
	if t.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	count := int32(0)
	for _, p := range t.pods {
		if p.Status.Phase != corev1.PodRunning && p.Status.Phase != corev1.PodPending {
			continue
		}
		for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			count += s.RestartCount
		}
	}
	return count >= max(1, ptr.Deref(t.job.Spec.BackoffLimit, 6))
}

// limited is true of a job whose time runs.
func (t *tally) limited() bool {
	return t.job.Spec.ActiveDeadlineSeconds != nil && !suspended(t.job)
}

// deadline is how long the job may stay active yet; zero or less: no longer, or no limit.
func (t *tally) deadline(now time.Time) time.Duration {
	if !t.limited() {
		return 0
	}
	left := time.Duration(*t.job.Spec.ActiveDeadlineSeconds) * time.Second
	if start := t.job.Status.StartTime; start != nil {
		left -= now.Sub(start.Time)
	}
	return left
}

// complete is the verdict on a job that has all its successes and no active pod.
func (t *tally) complete(now time.Time) *batchv1.JobCondition {
	enough := t.succeeded > 0
	if t.job.Spec.Completions != nil {
		enough = t.succeeded >= int(*t.job.Spec.Completions)
	}
	if !enough || len(t.active) > 0 {
		return nil
	}
	return condition(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods", now)
}

// status is what the job's status should be, the pods that it then accounts for, and
// what is to be told once it is written.
func (t *tally) status(end *batchv1.JobCondition, now time.Time) (batchv1.JobStatus, []*corev1.Pod, []Occurrence) {
	next := *t.job.Status.DeepCopy()
	if next.StartTime == nil && !suspended(t.job) {
		next.StartTime = ptr.To(metav1.NewTime(now))
	}
	var events []Occurrence
	if end == nil && t.job.DeletionTimestamp == nil {
		events = t.suspend(&next, now)
	}
	accounted := t.account(&next, end)
	if indexed(t.job) {
		next.Succeeded = int32(t.completed.count())
		next.CompletedIndexes = t.completed.String()
		next.FailedIndexes = nil
		if t.given != nil {
			next.FailedIndexes = ptr.To(t.given.String())
		}
	}
	next.Active, next.Ready, next.Terminating = int32(len(t.active)), ptr.To(t.ready), ptr.To(t.terminating)
	switch {
	case end == nil:
	case decided(&t.job.Status) == nil:
		next.Conditions = append(next.Conditions, *end)
	case t.settled(&next):
		events = append(events, finish(t.job, &next, end, now)...)
	}
	return next, accounted, events
}

// suspend follows spec.suspend with the Suspended condition. A job starts anew when it
// is resumed: its deadline counts from there.
func (t *tally) suspend(next *batchv1.JobStatus, now time.Time) []Occurrence {
	if suspended(t.job) {
		if !set(next, condition(batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended", now)) {
			return nil
		}
		next.StartTime = nil
		return []Occurrence{{corev1.EventTypeNormal, "Suspended", "Job suspended"}}
	}
	if !set(next, condition(batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed", now)) {
		return nil
	}
	next.StartTime = ptr.To(metav1.NewTime(now))
	return []Occurrence{{corev1.EventTypeNormal, "Resumed", "Job resumed"}}
}

// account counts the pods whose finalizer is gone, and lists those that ended since.
// The pods it returns need their finalizer no longer once next is written.
func (t *tally) account(next *batchv1.JobStatus, end *batchv1.JobCondition) []*corev1.Pod {
	held := map[types.UID]bool{}
	for _, p := range t.pods {
		if tracked(p) {
			held[p.UID] = true
		}
	}
	uncounted := uncountedOf(next)
	next.UncountedTerminatedPods = &uncounted
	settle := func(listed []types.UID, count *int32) []types.UID {
		rest := slices.DeleteFunc(slices.Clone(listed), func(uid types.UID) bool { return !held[uid] })
		*count += int32(len(listed) - len(rest))
		return rest
	}
	uncounted.Succeeded = settle(uncounted.Succeeded, &next.Succeeded)
	uncounted.Failed = settle(uncounted.Failed, &next.Failed)

	inSucceeded, inFailed := setOf(uncounted.Succeeded), setOf(uncounted.Failed)
	var accounted []*corev1.Pod
	for _, p := range t.pods {
		if !tracked(p) || !t.releasable(p, end) {
			continue
		}
		if len(uncounted.Succeeded)+len(uncounted.Failed) >= maxUncounted && !inSucceeded[p.UID] && !inFailed[p.UID] {
			continue // its turn comes when these are counted
		}
		switch {
		case p.Status.Phase == corev1.PodSucceeded:
			if !indexed(t.job) && !inFailed[p.UID] && !inSucceeded[p.UID] {
				uncounted.Succeeded = append(uncounted.Succeeded, p.UID)
			}
		case t.failsIn(p, end) && !inFailed[p.UID] && (!indexed(t.job) || validIndex(t.job, p)) && rule(t.job, p).counts:
			uncounted.Failed = append(uncounted.Failed, p.UID)
		}
		accounted = append(accounted, p)
	}
	return accounted
}

// releasable is true of a pod that holds no information any more once it is accounted
// for: it ended and no replacement waits for its annotations, or the job is over.
func (t *tally) releasable(p *corev1.Pod, end *batchv1.JobCondition) bool {
	return t.job.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded ||
		end != nil && !podpkg.Active(p) || t.fails(p) && t.replaced[indexOf(p)] != p
}

// failsIn is true of a pod to count as failed. When a job fails, so do all its pods that
// had not ended; those that are ended because enough others succeeded do not.
func (t *tally) failsIn(p *corev1.Pod, end *batchv1.JobCondition) bool {
	if c := decided(&t.job.Status); c != nil && c.Type == batchv1.JobSuccessCriteriaMet {
		return p.Status.Phase == corev1.PodFailed && p.DeletionTimestamp == nil
	}
	return t.fails(p) || end != nil && end.Type == batchv1.JobFailureTarget && !podpkg.Active(p)
}

// settled is true when nothing is left to count or to wait for.
func (t *tally) settled(next *batchv1.JobStatus) bool {
	return len(t.active) == 0 && t.terminating == 0 && !slices.ContainsFunc(t.pods, tracked) &&
		len(next.UncountedTerminatedPods.Succeeded)+len(next.UncountedTerminatedPods.Failed) == 0
}

// finish turns the verdict into the outcome.
func finish(job *batchv1.Job, next *batchv1.JobStatus, end *batchv1.JobCondition, now time.Time) (events []Occurrence) {
	if next.StartTime == nil { // decided while it was suspended; the API wants a start
		next.StartTime = ptr.To(metav1.NewTime(now))
	}
	if end.Type == batchv1.JobFailureTarget {
		set(next, condition(batchv1.JobFailed, corev1.ConditionTrue, end.Reason, end.Message, now))
		return []Occurrence{{corev1.EventTypeWarning, end.Reason, end.Message}}
	}
	set(next, condition(batchv1.JobComplete, corev1.ConditionTrue, end.Reason, end.Message, now))
	next.CompletionTime = ptr.To(metav1.NewTime(now))
	if job.Spec.Completions != nil && next.Succeeded > *job.Spec.Completions {
		events = append(events, Occurrence{corev1.EventTypeWarning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached"})
	}
	return append(events, Occurrence{corev1.EventTypeNormal, "Completed", "Job completed"})
}

func uncountedOf(status *batchv1.JobStatus) batchv1.UncountedTerminatedPods {
	return ptr.Deref(status.UncountedTerminatedPods, batchv1.UncountedTerminatedPods{})
}

func setOf(uids []types.UID) map[types.UID]bool {
	out := make(map[types.UID]bool, len(uids))
	for _, uid := range uids {
		out[uid] = true
	}
	return out
}

func condition(kind batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) *batchv1.JobCondition {
	at := metav1.NewTime(now)
	return &batchv1.JobCondition{Type: kind, Status: status, LastProbeTime: at, LastTransitionTime: at, Reason: reason, Message: message}
}

func find(list []batchv1.JobCondition, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range list {
		if list[i].Type == kind {
			return &list[i]
		}
	}
	return nil
}

// set puts a condition into the status and tells whether that changed it. One that was
// never true is not added to say that it is false.
func set(status *batchv1.JobStatus, c *batchv1.JobCondition) bool {
	old := find(status.Conditions, c.Type)
	switch {
	case old == nil && c.Status == corev1.ConditionFalse:
		return false
	case old == nil:
		status.Conditions = append(status.Conditions, *c)
		return true
	case old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message:
		return false
	}
	*old = *c
	return true
}
