package ttlafterfinished

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"kubus.dev/services/controllers/internal/job"
)

// left is how much longer a job is kept. expires is false when nothing limits that:
// it has no ttlSecondsAfterFinished, runs still, or is being deleted already.
func left(j *batchv1.Job, now time.Time) (wait time.Duration, expires bool, err error) {
	outcome := job.Outcome(j)
	if outcome == nil || j.Spec.TTLSecondsAfterFinished == nil || j.DeletionTimestamp != nil {
		return 0, false, nil
	}
	if outcome.LastTransitionTime.IsZero() {
		return 0, false, fmt.Errorf("unable to find the time when the Job %s/%s finished", j.Namespace, j.Name)
	}
	ttl := time.Duration(*j.Spec.TTLSecondsAfterFinished) * time.Second
	return outcome.LastTransitionTime.Add(ttl).Sub(now), true, nil
}
