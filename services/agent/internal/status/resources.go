package status

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"kubus.dev/services/agent/internal/runtime"
)

// resources is what a container has: what it is granted, but for the CPU and memory of one that runs, which are those
// that its cgroup was last set by.
func resources(c *corev1.Container, r *Record, k Container) *corev1.ResourceRequirements {
	out := c.Resources.DeepCopy()
	if r.State != runtime.ContainerRunning || r != k.Newest || k.Set == nil {
		return out
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if q, ok := k.Set.Requests[name]; ok && out.Requests != nil {
			out.Requests[name] = q.DeepCopy()
		}
		if q, ok := k.Set.Limits[name]; ok && out.Limits != nil {
			out.Limits[name] = q.DeepCopy()
		}
	}
	return out
}

// podResources shows what the pod as a whole is granted and has, where its spec says something of that.
func podResources(s *corev1.PodStatus, in Input) {
	if in.Pod.Spec.Resources == nil {
		return
	}
	s.AllocatedResources = resourcehelper.PodRequests(in.Pod, resourcehelper.PodResourcesOptions{})
	s.Resources = in.Pod.Spec.Resources.DeepCopy()
	s.Resources.Requests = resourcehelper.PodRequests(in.Pod, resourcehelper.PodResourcesOptions{})
	s.Resources.Limits = resourcehelper.PodLimits(in.Pod, resourcehelper.PodResourcesOptions{})
	if in.Resizing && in.Previous.Resources != nil {
		s.Resources = in.Previous.Resources.DeepCopy()
	}
}
