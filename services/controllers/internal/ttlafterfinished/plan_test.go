package ttlafterfinished

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var epoch = time.Unix(1_800_000_000, 0)

func ended(kind batchv1.JobConditionType, ttl *int32) *batchv1.Job {
	return &batchv1.Job{
		Spec:   batchv1.JobSpec{TTLSecondsAfterFinished: ttl},
		Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(epoch)}}},
	}
}

func TestLeft(t *testing.T) {
	t.Parallel()
	deleted := ended(batchv1.JobComplete, ptr.To[int32](10))
	deleted.DeletionTimestamp = ptr.To(metav1.NewTime(epoch))
	undated := ended(batchv1.JobComplete, ptr.To[int32](10))
	undated.Status.Conditions[0].LastTransitionTime = metav1.Time{}
	for _, c := range []struct {
		name    string
		job     *batchv1.Job
		after   time.Duration
		wait    time.Duration
		expires bool
		fails   bool
	}{
		{"a complete job is kept for its time", ended(batchv1.JobComplete, ptr.To[int32](10)), 4 * time.Second, 6 * time.Second, true, false},
		{"so is a failed one", ended(batchv1.JobFailed, ptr.To[int32](10)), 10 * time.Second, 0, true, false},
		{"it may be overdue", ended(batchv1.JobFailed, ptr.To[int32](10)), time.Minute, -50 * time.Second, true, false},
		{"zero is at once", ended(batchv1.JobComplete, ptr.To[int32](0)), 0, 0, true, false},
		{"one that finished in the future is kept until its time", ended(batchv1.JobComplete, ptr.To[int32](0)), -time.Hour, time.Hour, true, false},
		{"without a limit it is kept", ended(batchv1.JobComplete, nil), time.Hour, 0, false, false},
		{"while it runs, too", ended(batchv1.JobSuspended, ptr.To[int32](10)), time.Hour, 0, false, false},
		{"it is not deleted twice", deleted, time.Hour, 0, false, false},
		{"one that does not tell when it finished is kept", undated, time.Hour, 0, false, true},
	} {
		wait, expires, err := left(c.job, epoch.Add(c.after))
		if wait != c.wait || expires != c.expires || (err != nil) != c.fails {
			t.Errorf("%s: %v, %t, %v", c.name, wait, expires, err)
		}
	}
}
