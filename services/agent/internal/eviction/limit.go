package eviction

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Limited tells whether a pod has a limit of its own on what it writes to the disk.
func Limited(pod *corev1.Pod) bool {
	if _, ok := podLimit(pod); ok {
		return true
	}
	for i := range pod.Spec.Volumes {
		if sizeLimit(&pod.Spec.Volumes[i]) > 0 {
			return true
		}
	}
	return len(containerLimits(pod)) > 0
}

// Exceeded says which of its own limits a pod has passed on the disk; "" when none. The first of
// its volumes counts, then the pod as a whole, then its containers.
func Exceeded(pod *corev1.Pod, usage *Usage) string {
	if usage == nil {
		return ""
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if most := sizeLimit(v); most > 0 && usage.Volumes[v.Name] > most {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String())
		}
	}
	if most, ok := podLimit(pod); ok && usage.Pod[corev1.ResourceEphemeralStorage] > most.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", most.String())
	}
	limits := containerLimits(pod)
	for _, c := range usage.Containers {
		if most, ok := limits[c.Name]; ok && c.Use[corev1.ResourceEphemeralStorage] > most.Value() {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, most.String())
		}
	}
	return ""
}

// sizeLimit is how many bytes a volume may have on the disk; 0 when nothing limits it. A volume in
// memory is limited by the kernel.
func sizeLimit(v *corev1.Volume) int64 {
	if v.EmptyDir == nil || v.EmptyDir.Medium != corev1.StorageMediumDefault || v.EmptyDir.SizeLimit == nil {
		return 0
	}
	return v.EmptyDir.SizeLimit.Value()
}

// podLimit is the sum of the containers' limits, as upstream's: one container's makes it a limit of all.
func podLimit(pod *corev1.Pod) (resource.Quantity, bool) {
	q, ok := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})[corev1.ResourceEphemeralStorage]
	return q, ok
}

// containerLimits are those of containers that run as long as the pod does, by name.
func containerLimits(pod *corev1.Pod) map[string]resource.Quantity {
	out := map[string]resource.Quantity{}
	add := func(c *corev1.Container) {
		if q := c.Resources.Limits.StorageEphemeral(); !q.IsZero() {
			out[c.Name] = *q
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return out
}
