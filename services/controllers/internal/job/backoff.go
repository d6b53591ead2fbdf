package job

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	podpkg "kubus.dev/services/controllers/internal/pod"
)

// How long a failed pod waits for its replacement: doubling with each failure in a
// row, as upstream.
const (
	firstBackoff = 10 * time.Second
	maxBackoff   = 10 * time.Minute
)

// backoff is what is remembered of a job's failures. It is never written anywhere: a
// new term learns it again from the pods that are still there.
type backoff struct {
	failures int       // in a row, since the last success
	last     time.Time // of them
	known    map[types.UID]bool
}

// with is the memory after a look at the pods that have ended by now. A pod counts
// once, however often it is seen; what is not among them any more is forgotten.
func (b backoff) with(succeeded, failed []*corev1.Pod) backoff {
	next := backoff{b.failures, b.last, make(map[types.UID]bool, len(succeeded)+len(failed))}
	fresh := func(pods []*corev1.Pod) (times []time.Time) {
		for _, p := range pods {
			next.known[p.UID] = true
			if !b.known[p.UID] {
				times = append(times, finished(p))
			}
		}
		slices.SortFunc(times, time.Time.Compare)
		return times
	}
	successes, failures := fresh(succeeded), fresh(failed)
	if len(successes) > 0 {
		success := successes[len(successes)-1]
		failures = slices.DeleteFunc(failures, func(t time.Time) bool { return !t.After(success) })
		next.failures, next.last = 0, time.Time{}
	}
	if len(failures) > 0 {
		next.failures += len(failures)
		next.last = failures[len(failures)-1]
	}
	return next
}

// wait is how long no pod is to be made yet.
func (b backoff) wait(now time.Time) time.Duration { return backoffWait(b.failures, b.last, now) }

func backoffWait(failures int, last, now time.Time) time.Duration {
	if failures == 0 {
		return 0
	}
	d := firstBackoff
	for i := 1; i < failures && d < maxBackoff; i++ {
		d *= 2
	}
	return max(0, min(d, maxBackoff)-now.Sub(last))
}

// finished is when a pod ended, as far as it tells: when its last container did, when
// it stopped being ready, when its deletion was asked for, when it was made.
func finished(p *corev1.Pod) time.Time {
	if at := containersFinished(p); !at.IsZero() {
		return at
	}
	if since, ready := podpkg.ReadySince(p); !ready && !since.IsZero() {
		return since
	}
	if p.DeletionTimestamp != nil {
		grace := int64(0)
		if p.DeletionGracePeriodSeconds != nil {
			grace = *p.DeletionGracePeriodSeconds
		}
		return p.DeletionTimestamp.Add(-time.Duration(grace) * time.Second)
	}
	return p.CreationTimestamp.Time
}

// containersFinished is when the last container or sidecar ended; zero when one of
// them has not.
func containersFinished(p *corev1.Pod) (last time.Time) {
	statuses := slices.Clone(p.Status.ContainerStatuses)
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		for _, s := range p.Status.InitContainerStatuses {
			if s.Name == c.Name {
				statuses = append(statuses, s)
			}
		}
	}
	for _, s := range statuses {
		if s.State.Terminated == nil || s.State.Terminated.FinishedAt.IsZero() {
			return time.Time{}
		}
		if at := s.State.Terminated.FinishedAt.Time; at.After(last) {
			last = at
		}
	}
	return last
}
