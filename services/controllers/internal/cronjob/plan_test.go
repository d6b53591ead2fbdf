package cronjob

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// clock reads a time of the day of the tests.
func clock(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05", "2027-03-10 "+text)
	if err != nil {
		panic(err)
	}
	return t
}

type change func(*batchv1.CronJob)

// cronJob was made at nine, and runs at each full hour.
func cronJob(changes ...change) *batchv1.CronJob {
	c := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c", UID: "c", CreationTimestamp: metav1.NewTime(clock("09:00:00"))},
		Spec: batchv1.CronJobSpec{
			Schedule: "0 * * * *", ConcurrencyPolicy: batchv1.AllowConcurrent, Suspend: ptr.To(false),
			SuccessfulJobsHistoryLimit: ptr.To[int32](3), FailedJobsHistoryLimit: ptr.To[int32](1),
		},
	}
	for _, change := range changes {
		change(c)
	}
	return c
}

func schedule(text string) change { return func(c *batchv1.CronJob) { c.Spec.Schedule = text } }

func zone(name string) change { return func(c *batchv1.CronJob) { c.Spec.TimeZone = &name } }

func policy(p batchv1.ConcurrencyPolicy) change {
	return func(c *batchv1.CronJob) { c.Spec.ConcurrencyPolicy = p }
}

func within(seconds int64) change {
	return func(c *batchv1.CronJob) { c.Spec.StartingDeadlineSeconds = &seconds }
}

func last(at string) change {
	return func(c *batchv1.CronJob) { c.Status.LastScheduleTime = ptr.To(metav1.NewTime(clock(at))) }
}

func created(at time.Time) change {
	return func(c *batchv1.CronJob) { c.CreationTimestamp = metav1.NewTime(at) }
}

func active(names ...string) change {
	return func(c *batchv1.CronJob) {
		for _, name := range names {
			c.Status.Active = append(c.Status.Active, corev1.ObjectReference{Namespace: "ns", Name: name, UID: types.UID(name)})
		}
	}
}

// ran makes a job that began at that hour; kind is how it ended, "" when it has not.
func ran(name string, hour int, kind batchv1.JobConditionType) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)}}
	j.Status.StartTime = ptr.To(metav1.NewTime(clock(fmt.Sprintf("%02d:00:00", hour))))
	if kind != "" {
		j.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue}}
	}
	if kind == batchv1.JobComplete {
		j.Status.CompletionTime = ptr.To(metav1.NewTime(clock(fmt.Sprintf("%02d:10:00", hour))))
	}
	return j
}

func describe(d decision) string {
	var out []string
	for _, j := range d.Remove {
		out = append(out, "remove "+j.Name)
	}
	for _, ref := range d.Replace {
		out = append(out, "replace "+ref.Name)
	}
	if d.Start != nil {
		out = append(out, "start "+d.Start.UTC().Format("15:04:05"))
	}
	for _, e := range d.Events {
		out = append(out, fmt.Sprintf("%s %s %s", e.Type, e.Reason, e.Message))
	}
	if len(d.Status.Active) > 0 {
		line := "active"
		for _, ref := range d.Status.Active {
			line += " " + ref.Name
		}
		out = append(out, line)
	}
	if at := d.Status.LastSuccessfulTime; at != nil {
		out = append(out, "succeeded "+at.UTC().Format("15:04"))
	}
	if d.Again != 0 {
		out = append(out, fmt.Sprintf("again in %v", d.Again))
	}
	return strings.Join(out, "; ")
}

func TestPlan(t *testing.T) {
	t.Parallel()
	deleted := func(c *batchv1.CronJob) { c.DeletionTimestamp = ptr.To(metav1.NewTime(clock("09:00:00"))) }
	suspend := func(c *batchv1.CronJob) { c.Spec.Suspend = ptr.To(true) }
	complete, failed := batchv1.JobComplete, batchv1.JobFailed
	tests := []struct {
		name string
		cron *batchv1.CronJob
		jobs []*batchv1.Job
		gone string
		now  string
		want string
	}{
		{"nothing starts before its time", cronJob(), nil, "", "09:59:59", "again in 1.1s"},
		{"then a job does", cronJob(), nil, "", "10:00:00", "start 10:00:00; again in 1h0m0.1s"},
		{"once", cronJob(last("10:00:00")), nil, "", "10:00:01", "again in 59m59.1s"},
		{"though its status was not written, if it runs", cronJob(active("c-30077880")), []*batchv1.Job{ran("c-30077880", 10, "")}, "", "10:00:01", "active c-30077880; again in 59m59.1s"},
		{"only the latest of several that were missed", cronJob(), nil, "", "12:30:00", "start 12:00:00; again in 30m0.1s"},
		{"more than a hundred of them are told of", cronJob(created(clock("09:00:00").Add(-101 * time.Hour))), nil, "", "09:30:00",
			"start 09:00:00; Warning TooManyMissedTimes too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew; again in 30m0.1s"},
		{"unless the deadline rules most of them out", cronJob(created(clock("09:00:00").Add(-101*time.Hour)), within(7200)), nil, "", "09:30:00", "start 09:00:00; again in 30m0.1s"},
		{"later than its deadline no job starts", cronJob(within(60)), nil, "", "10:02:00", "again in 58m0.1s"},
		{"up to it, one does", cronJob(within(60)), nil, "", "10:00:59", "start 10:00:00; again in 59m1.1s"},
		{"the rhythm of @every goes on from the last start", cronJob(schedule("@every 7m"), last("09:30:00")), nil, "", "10:00:00", "start 09:58:00; again in 5m0.1s"},
		{"uneven schedules have their exact latest start", cronJob(schedule("30 6-16/4 * * *"), created(clock("01:00:00"))), nil, "", "15:00:00", "start 14:30:00; again in 15h30m0.1s"},
		{"but as upstream, none once a longer pause has outrun the estimate", cronJob(schedule("30 6-16/4 * * *"), created(clock("01:00:00"))), nil, "", "20:00:00", "again in 10h30m0.1s"},
		{"a suspended one starts nothing and waits for a change", cronJob(suspend), nil, "", "10:00:00", ""},
		{"nor does one that is being deleted", cronJob(deleted, active("a")), []*batchv1.Job{ran("a", 9, complete)}, "", "10:00:00", "Normal SawCompletedJob Saw completed job: a, condition: Complete; succeeded 09:10"},

		// Zones.
		{"hours are those of the zone", cronJob(schedule("0 12 * * *"), zone("Asia/Kolkata"), created(clock("01:00:00"))), nil, "", "06:30:00", "start 06:30:00; again in 24h0m0.1s"},
		{"an unknown zone is told of", cronJob(zone("Mars/Olympus")), nil, "", "10:00:00", `Warning UnknownTimeZone invalid timeZone: "Mars/Olympus": unknown time zone Mars/Olympus`},
		{"a zone in the schedule works and is not supported", cronJob(schedule("TZ=Asia/Kolkata 0 12 * * *"), created(clock("01:00:00"))), nil, "", "06:30:00",
			`start 06:30:00; Warning UnsupportedSchedule CRON_TZ or TZ used in schedule "TZ=Asia/Kolkata 0 12 * * *" is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details; again in 24h0m0.1s`},

		// Bad schedules.
		{"what is no schedule is told of", cronJob(schedule("every day")), nil, "", "10:00:00", `Warning UnparseableSchedule unparseable schedule: "every day" : expected exactly 5 fields, found 2: [every day]`},
		{"what makes the library panic is, too", cronJob(schedule("TZ=0")), nil, "", "10:00:00",
			`Warning UnsupportedSchedule CRON_TZ or TZ used in schedule "TZ=0" is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details; Warning UnparseableSchedule unparseable schedule: "TZ=0" : invalid schedule format: runtime error: slice bounds out of range [:-1]`},
		{"and a day that never comes", cronJob(schedule("59 23 31 2 *")), nil, "", "10:00:00", `Warning InvalidSchedule invalid schedule: 59 23 31 2 * : time difference between two schedules is less than 1 second`},

		// Several at a time.
		{"jobs may run beside each other", cronJob(active("a")), []*batchv1.Job{ran("a", 9, "")}, "", "10:00:00", "start 10:00:00; active a; again in 1h0m0.1s"},
		{"or forbid others", cronJob(policy(batchv1.ForbidConcurrent), active("a")), []*batchv1.Job{ran("a", 9, "")}, "", "10:00:00",
			"Normal JobAlreadyActive Not starting job because prior execution is running and concurrency policy is Forbid; active a; again in 1h0m0.1s"},
		{"not when they have just ended", cronJob(policy(batchv1.ForbidConcurrent), active("a")), []*batchv1.Job{ran("a", 9, failed)}, "", "10:00:00",
			"start 10:00:00; Normal SawCompletedJob Saw completed job: a, condition: Failed; again in 1h0m0.1s"},
		{"or make way for others", cronJob(policy(batchv1.ReplaceConcurrent), active("a")), []*batchv1.Job{ran("a", 9, "")}, "", "10:00:00", "replace a; start 10:00:00; active a; again in 1h0m0.1s"},

		// The status.
		{"a job that was not expected is told of", cronJob(), []*batchv1.Job{ran("x", 9, "")}, "", "09:30:00", "Warning UnexpectedJob Saw a job that the controller did not create or forgot: x; again in 30m0.1s"},
		{"one that is gone is forgotten", cronJob(active("a", "b")), nil, "a", "09:30:00", "Normal MissingJob Active job went missing: a; active b; again in 30m0.1s"},
		{"the latest success is remembered", cronJob(), []*batchv1.Job{ran("a", 8, complete), ran("b", 9, complete), ran("x", 9, failed)}, "", "09:30:00", "succeeded 09:10; again in 30m0.1s"},
		{"history has its limits, by outcome", cronJob(), []*batchv1.Job{ran("d", 4, complete), ran("a", 1, complete), ran("x", 2, failed), ran("c", 3, complete), ran("b", 2, complete), ran("y", 5, failed), ran("r", 0, "")}, "", "09:30:00",
			"remove a; remove x; Warning UnexpectedJob Saw a job that the controller did not create or forgot: r; succeeded 04:10; again in 30m0.1s"},
		{"or none", cronJob(func(c *batchv1.CronJob) { c.Spec.SuccessfulJobsHistoryLimit, c.Spec.FailedJobsHistoryLimit = nil, nil }), []*batchv1.Job{ran("x", 1, failed), ran("y", 2, failed)}, "", "09:30:00", "again in 30m0.1s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := plan(observed{tt.cron, tt.jobs, map[types.UID]bool{types.UID(tt.gone): true}}, clock(tt.now))
			if describe(got) != tt.want {
				t.Errorf("got  %s\nwant %s", describe(got), tt.want)
			}
		})
	}
}

func TestJobOfAStart(t *testing.T) {
	t.Parallel()
	c := cronJob(zone("Asia/Kolkata"), func(c *batchv1.CronJob) {
		c.Spec.JobTemplate.Labels = map[string]string{"app": "x"}
		c.Spec.JobTemplate.Annotations = map[string]string{"note": "y"}
		c.Spec.JobTemplate.Spec.Parallelism = ptr.To[int32](4)
	})
	j := jobOf(c, clock("06:30:00"))
	if j.Name != "c-30077670" || j.Namespace != "ns" || !metav1.IsControlledBy(j, c) || j.Labels["app"] != "x" || *j.Spec.Parallelism != 4 {
		t.Errorf("%+v", j)
	}
	if got := j.Annotations[batchv1.CronJobScheduledTimestampAnnotation]; got != "2027-03-10T12:00:00+05:30" || j.Annotations["note"] != "y" {
		t.Errorf("annotations %v", j.Annotations)
	}
	if len(c.Spec.JobTemplate.Annotations) != 1 {
		t.Errorf("the template was changed: %v", c.Spec.JobTemplate.Annotations)
	}
}
