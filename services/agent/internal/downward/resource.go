package downward

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Resource is the value of a resourceFieldRef, in units of its divisor, rounded
// up. container is used when the selector names none. Limits that are not set
// are the pod's, else the node's allocatable.
func Resource(pod *corev1.Pod, container *corev1.Container, ref *corev1.ResourceFieldSelector, allocatable corev1.ResourceList) (string, error) {
	if ref.ContainerName != "" {
		container = Container(pod, ref.ContainerName)
	}
	if container == nil {
		return "", fmt.Errorf("container %s not found", ref.ContainerName)
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	resourceName := corev1.ResourceName(name)
	switch resourceName {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
	default:
		if !strings.HasPrefix(name, corev1.ResourceHugePagesPrefix) {
			return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
		}
	}
	var q resource.Quantity
	switch kind {
	case "requests":
		q = container.Resources.Requests[resourceName]
	case "limits":
		q = container.Resources.Limits[resourceName]
		if q.IsZero() && !strings.HasPrefix(name, corev1.ResourceHugePagesPrefix) {
			if q = PodLimit(pod, resourceName); q.IsZero() {
				q = allocatable[resourceName]
			}
		}
	default:
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	return strconv.FormatInt(inUnits(q, ref.Divisor, resourceName == corev1.ResourceCPU), 10), nil
}

// PodLimit is the limit that the pod sets for all its containers together, zero for none.
func PodLimit(pod *corev1.Pod, name corev1.ResourceName) resource.Quantity {
	if pod.Spec.Resources == nil {
		return resource.Quantity{}
	}
	return pod.Spec.Resources.Limits[name]
}

func inUnits(q, divisor resource.Quantity, milli bool) int64 {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	value, unit := q.Value(), divisor.Value()
	if milli {
		value, unit = q.MilliValue(), divisor.MilliValue()
	}
	if unit <= 0 {
		return 0
	}
	n := value / unit
	if value%unit > 0 {
		n++
	}
	return n
}

// Container finds a regular or init container by name; nil when there is none.
func Container(pod *corev1.Pod, name string) *corev1.Container {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i]
		}
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return &pod.Spec.InitContainers[i]
		}
	}
	return nil
}
