package cronjob

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"kubus.dev/services/controllers/internal/job"
)

// observed is a cron job and the jobs it controls.
type observed struct {
	cron *batchv1.CronJob
	jobs []*batchv1.Job
	gone map[types.UID]bool // those of status.active that the API does not have any more
}

// decision is what to do for a cron job: in this order.
type decision struct {
	Events  []job.Occurrence
	Remove  []*batchv1.Job           // finished ones beyond the history limits, oldest first
	Replace []corev1.ObjectReference // running ones that make way for the start
	Start   *time.Time               // scheduled time of the job to make; nil for none
	Status  batchv1.CronJobStatus    // without the job that is started
	Again   time.Duration            // until the next start; zero: only a change can bring one
}

func (d *decision) tell(kind, reason, format string, args ...any) {
	d.Events = append(d.Events, job.Occurrence{Type: kind, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// unseen are those of status.active that are not among the jobs: the API is asked
// whether they are really gone.
func unseen(c *batchv1.CronJob, jobs []*batchv1.Job) []corev1.ObjectReference {
	return slices.DeleteFunc(slices.Clone(c.Status.Active), func(ref corev1.ObjectReference) bool {
		return slices.ContainsFunc(jobs, func(j *batchv1.Job) bool { return j.UID == ref.UID })
	})
}

// unexpected are unfinished jobs that status.active does not have.
func unexpected(c *batchv1.CronJob, jobs []*batchv1.Job) []*batchv1.Job {
	return slices.DeleteFunc(slices.Clone(jobs), func(j *batchv1.Job) bool {
		return job.Finished(j) || listed(c.Status.Active, j.UID)
	})
}

func listed(active []corev1.ObjectReference, uid types.UID) bool {
	return slices.ContainsFunc(active, func(ref corev1.ObjectReference) bool { return ref.UID == uid })
}

// plan decides.
func plan(o observed, now time.Time) decision {
	var d decision
	d.Status = *o.cron.Status.DeepCopy()
	d.Remove = expired(o)
	d.follow(o)
	if o.cron.DeletionTimestamp == nil {
		d.schedule(o.cron, now)
	}
	return d
}

// expired are the finished jobs beyond the history limits that are not yet being deleted.
func expired(o observed) (remove []*batchv1.Job) {
	for kind, limit := range map[batchv1.JobConditionType]*int32{
		batchv1.JobComplete: o.cron.Spec.SuccessfulJobsHistoryLimit, batchv1.JobFailed: o.cron.Spec.FailedJobsHistoryLimit,
	} {
		ended := slices.DeleteFunc(slices.Clone(o.jobs), func(j *batchv1.Job) bool {
			outcome := job.Outcome(j)
			return outcome == nil || outcome.Type != kind
		})
		if limit == nil || len(ended) <= int(*limit) {
			continue
		}
		slices.SortFunc(ended, earlierStart)
		for _, j := range ended[:len(ended)-int(*limit)] {
			if j.DeletionTimestamp == nil {
				remove = append(remove, j)
			}
		}
	}
	slices.SortFunc(remove, earlierStart)
	return remove
}

// earlierStart orders jobs by their start; those that have none come last.
func earlierStart(a, b *batchv1.Job) int {
	at, bt := a.Status.StartTime, b.Status.StartTime
	switch {
	case (at == nil) != (bt == nil):
		return map[bool]int{true: 1, false: -1}[at == nil]
	case at != nil && !at.Equal(bt):
		return at.Compare(bt.Time)
	}
	return cmp.Compare(a.Name, b.Name)
}

// follow brings the status up to what became of the jobs.
func (d *decision) follow(o observed) {
	for _, j := range unexpected(o.cron, o.jobs) {
		d.tell(corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", j.Name)
	}
	for _, j := range o.jobs {
		outcome := job.Outcome(j)
		if outcome == nil {
			continue
		}
		if listed(d.Status.Active, j.UID) {
			d.forget(j.UID)
			d.tell(corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, outcome.Type)
		}
		if at := j.Status.CompletionTime; outcome.Type == batchv1.JobComplete && at != nil &&
			(d.Status.LastSuccessfulTime == nil || at.After(d.Status.LastSuccessfulTime.Time)) {
			d.Status.LastSuccessfulTime = at
		}
	}
	for _, ref := range unseen(o.cron, o.jobs) {
		if o.gone[ref.UID] {
			d.tell(corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", ref.Name)
			d.forget(ref.UID)
		}
	}
}

func (d *decision) forget(uid types.UID) {
	d.Status.Active = slices.DeleteFunc(d.Status.Active, func(ref corev1.ObjectReference) bool { return ref.UID == uid })
}

// schedule finds whether a job is to be started now, and when to look again.
func (d *decision) schedule(c *batchv1.CronJob, now time.Time) {
	if zone := c.Spec.TimeZone; zone != nil {
		if _, err := time.LoadLocation(*zone); err != nil {
			d.tell(corev1.EventTypeWarning, "UnknownTimeZone", "invalid timeZone: %q: %s", *zone, err)
			return
		}
	}
	if ptr.Deref(c.Spec.Suspend, false) {
		return
	}
	if namesZone(c) {
		d.tell(corev1.EventTypeWarning, "UnsupportedSchedule", "CRON_TZ or TZ used in schedule %q is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details", c.Spec.Schedule)
	}
	schedule, err := parse(c)
	if err != nil {
		d.tell(corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", c.Spec.Schedule, err)
		return
	}
	due, err := startsUntil(c, now, schedule, true)
	if err != nil {
		d.tell(corev1.EventTypeWarning, "InvalidSchedule", "invalid schedule: %s : %s", c.Spec.Schedule, err)
		return
	}
	d.Again = untilNext(c, now, schedule)
	if due.latest == nil {
		return
	}
	if due.missed > manyMissed {
		d.tell(corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	d.start(c, *due.latest, now)
}

// start makes a start of one that is due, unless something forbids it.
func (d *decision) start(c *batchv1.CronJob, at, now time.Time) {
	if within := c.Spec.StartingDeadlineSeconds; within != nil && at.Add(time.Duration(*within)*time.Second).Before(now) {
		d.tell(corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", at.UTC().Format(time.RFC1123Z))
		return
	}
	name := nameOf(c, at)
	running := slices.ContainsFunc(d.Status.Active, func(ref corev1.ObjectReference) bool { return ref.Name == name })
	if running || c.Status.LastScheduleTime.Equal(&metav1.Time{Time: at}) { // this start was made already
		return
	}
	switch c.Spec.ConcurrencyPolicy {
	case batchv1.ForbidConcurrent:
		if len(d.Status.Active) > 0 {
			d.tell(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
			return
		}
	case batchv1.ReplaceConcurrent:
		d.Replace = slices.Clone(d.Status.Active)
	}
	d.Start = &at
}

// nameOf is the name of the job of a start: the same for the same start, so that it
// is never made twice.
func nameOf(c *batchv1.CronJob, at time.Time) string {
	return fmt.Sprintf("%s-%d", c.Name, at.Unix()/60)
}

// jobOf is the job of a start.
func jobOf(c *batchv1.CronJob, at time.Time) *batchv1.Job {
	template := c.Spec.JobTemplate.DeepCopy()
	zone, err := time.LoadLocation(ptr.Deref(c.Spec.TimeZone, ""))
	if err != nil {
		zone = time.UTC // never: such a start is not due
	}
	annotations := maps.Clone(template.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[batchv1.CronJobScheduledTimestampAnnotation] = at.In(zone).Format(time.RFC3339)
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{
			Name: nameOf(c, at), Namespace: c.Namespace, Labels: template.Labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(c, kind)},
		},
		Spec: template.Spec,
	}
}

var kind = batchv1.SchemeGroupVersion.WithKind("CronJob")
