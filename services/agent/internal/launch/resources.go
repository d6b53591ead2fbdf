package launch

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"kubus.dev/services/agent/internal/downward"
	"kubus.dev/services/agent/internal/hugepage"
	"kubus.dev/services/agent/internal/runtime"
)

// Kernel and kubelet limits of CPU settings.
const (
	minShares   = 2
	maxShares   = 262144
	quotaPeriod = 100_000 // microseconds
	minQuota    = 1_000
)

// OOM scores by quality of service. Source: pkg/kubelet/qos.
const (
	guaranteedOOM = -997
	bestEffortOOM = 1000
)

// Resources maps a container's requests and limits to cgroup settings.
func Resources(pod *corev1.Pod, c *corev1.Container, memoryCapacity int64) runtime.Resources {
	r := runtime.Resources{OOMScoreAdj: oomScore(pod, c, memoryCapacity)}
	cpuRequest, hasRequest := c.Resources.Requests[corev1.ResourceCPU]
	cpuLimit := Limit(pod, c, corev1.ResourceCPU)
	if hasRequest {
		r.CPUShares = shares(cpuRequest.MilliValue())
	} else {
		r.CPUShares = shares(cpuLimit.MilliValue())
	}
	if q := cpuLimit.MilliValue(); q > 0 {
		r.CPUPeriod, r.CPUQuota = quotaPeriod, max(q*quotaPeriod/1000, minQuota)
	}
	memory := Limit(pod, c, corev1.ResourceMemory)
	r.MemoryLimit = memory.Value()
	return r
}

// Hugepages are the bytes of huge pages that a container may have, by the pages' size: its own limits, else the pod's.
func Hugepages(pod *corev1.Pod, c *corev1.Container) map[int64]int64 {
	var out map[int64]int64
	take := func(limits corev1.ResourceList) {
		for name, q := range limits {
			if size, ok := hugepage.Size(name); ok {
				if out == nil {
					out = map[int64]int64{}
				}
				out[size] = q.Value()
			}
		}
	}
	if pod.Spec.Resources != nil {
		take(pod.Spec.Resources.Limits)
	}
	take(c.Resources.Limits)
	return out
}

// Limit is a container's own limit, else the pod's.
func Limit(pod *corev1.Pod, c *corev1.Container, name corev1.ResourceName) resource.Quantity {
	if q := c.Resources.Limits[name]; !q.IsZero() {
		return q
	}
	return downward.PodLimit(pod, name)
}

// PodResources are the limits of the pod's cgroup: the sum of its containers'
// limits where every container has one. pids limits the pod's processes, 0 is none.
func PodResources(pod *corev1.Pod, pids int64) runtime.Resources {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	r := runtime.Resources{CPUShares: shares(requests.Cpu().MilliValue()), PidsLimit: pids}
	if QOS(pod) == corev1.PodQOSBestEffort {
		r.CPUShares = minShares
		return r
	}
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	if q := limits.Cpu().MilliValue(); q > 0 && everyContainerLimits(pod, corev1.ResourceCPU) {
		r.CPUPeriod, r.CPUQuota = quotaPeriod, max(q*quotaPeriod/1000, minQuota)
	}
	if m := limits.Memory().Value(); m > 0 && everyContainerLimits(pod, corev1.ResourceMemory) {
		r.MemoryLimit = m
	}
	return r
}

func everyContainerLimits(pod *corev1.Pod, name corev1.ResourceName) bool {
	if pod.Spec.Resources != nil {
		if q, ok := pod.Spec.Resources.Limits[name]; ok && !q.IsZero() {
			return true
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if q, ok := list[i].Resources.Limits[name]; !ok || q.IsZero() {
				return false
			}
		}
	}
	return true
}

func shares(milli int64) uint64 {
	return uint64(min(max(milli*1024/1000, minShares), maxShares))
}

func oomScore(pod *corev1.Pod, c *corev1.Container, capacity int64) int {
	if pod.Spec.Priority != nil && *pod.Spec.Priority >= 2000001000 && strings.HasPrefix(pod.Spec.PriorityClassName, "system-node-critical") {
		return guaranteedOOM
	}
	switch QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteedOOM
	case corev1.PodQOSBestEffort:
		return bestEffortOOM
	}
	if capacity <= 0 {
		return bestEffortOOM - 1
	}
	score := 1000 - 1000*c.Resources.Requests.Memory().Value()/capacity
	return int(min(max(score, 1000+guaranteedOOM), bestEffortOOM-1))
}

// QOS is the pod's class: as the API says, else computed as it would.
func QOS(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	any, guaranteed := false, true
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				request, limit := list[i].Resources.Requests[name], list[i].Resources.Limits[name]
				any = any || !request.IsZero() || !limit.IsZero()
				if limit.IsZero() || (!request.IsZero() && request.Cmp(limit) != 0) {
					guaranteed = false
				}
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}
