package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// NextAvailable is how long until the next of the ready pods has been so for
// minReadySeconds; zero when all have, or none is ready.
func NextAvailable(pods []*corev1.Pod, minReadySeconds int32, now time.Time) (soonest time.Duration) {
	if minReadySeconds == 0 {
		return 0
	}
	for _, p := range pods {
		since, ready := ReadySince(p)
		if !ready || since.IsZero() {
			continue
		}
		wait := since.Add(time.Duration(minReadySeconds) * time.Second).Sub(now)
		if wait > 0 && (soonest == 0 || wait < soonest) {
			soonest = wait
		}
	}
	return soonest
}
