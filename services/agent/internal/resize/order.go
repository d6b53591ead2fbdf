package resize

import (
	"cmp"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"kubus.dev/services/agent/internal/launch"
)

// Request is a resize that waits for the node.
type Request struct {
	Asked, Granted *corev1.Pod
	Since          time.Time // when it was first deferred; zero: not yet
}

// Order sorts requests by who is served first: those that ask for no more than they have, then by priority, then
// Guaranteed pods, then who has waited longest.
func Order(a, b Request) int {
	return cmp.Or(
		cmp.Compare(a.increases(), b.increases()),
		cmp.Compare(priority(b.Asked), priority(a.Asked)),
		cmp.Compare(burstable(a.Asked), burstable(b.Asked)),
		a.waits().Compare(b.waits()),
	)
}

func (r Request) increases() int {
	was := resourcehelper.PodRequests(r.Granted, resourcehelper.PodResourcesOptions{})
	is := resourcehelper.PodRequests(r.Asked, resourcehelper.PodResourcesOptions{})
	if is.Cpu().Cmp(*was.Cpu()) > 0 || is.Memory().Cmp(*was.Memory()) > 0 {
		return 1
	}
	return 0
}

func priority(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

func burstable(pod *corev1.Pod) int {
	if launch.QOS(pod) == corev1.PodQOSGuaranteed {
		return 0
	}
	return 1
}

// waits is since when, after all others for one that has not been deferred.
func (r Request) waits() time.Time {
	if r.Since.IsZero() {
		return time.Unix(1<<40, 0)
	}
	return r.Since
}
