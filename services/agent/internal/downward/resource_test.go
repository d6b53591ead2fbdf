package downward

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func TestResource(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		Containers: []corev1.Container{
			{Name: "a", Resources: corev1.ResourceRequirements{Requests: list("cpu", "250m", "memory", "100Mi"), Limits: list("cpu", "1500m", "hugepages-2Mi", "4Mi")}},
			{Name: "b"},
		},
		InitContainers: []corev1.Container{{Name: "i", Resources: corev1.ResourceRequirements{Limits: list("memory", "1Gi")}}},
	}}
	allocatable := list("cpu", "4", "memory", "8Gi", "ephemeral-storage", "10Gi")
	tests := []struct{ name, container, resource, divisor, want, wrong string }{
		{"a limit in whole cores, rounded up", "", "limits.cpu", "", "2", ""},
		{"in thousandths", "", "limits.cpu", "1m", "1500", ""},
		{"a request, rounded up", "", "requests.cpu", "1", "1", ""},
		{"memory in bytes", "", "requests.memory", "", "104857600", ""},
		{"memory in its divisor", "", "requests.memory", "1Mi", "100", ""},
		{"memory in a larger divisor, rounded up", "", "requests.memory", "1Gi", "1", ""},
		{"a limit that is not set is what the node has", "b", "limits.memory", "1Gi", "8", ""},
		{"also of the disk", "b", "limits.ephemeral-storage", "1Gi", "10", ""},
		{"a request that is not set is nothing", "b", "requests.cpu", "1m", "0", ""},
		{"huge pages", "a", "limits.hugepages-2Mi", "1Mi", "4", ""},
		{"huge pages that are not set are nothing", "b", "limits.hugepages-2Mi", "1Mi", "0", ""},
		{"an init container's", "i", "limits.memory", "1Mi", "1024", ""},
		{"a container that is not there", "x", "limits.cpu", "", "", "container x not found"},
		{"a resource that pods may not know", "", "limits.example.com/gpu", "", "", "unsupported container resource : limits.example.com/gpu"},
		{"neither limit nor request", "", "cpu", "", "", "unsupported container resource : cpu"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ref := &corev1.ResourceFieldSelector{ContainerName: tt.container, Resource: tt.resource}
			if tt.divisor != "" {
				ref.Divisor = resource.MustParse(tt.divisor)
			}
			got, err := Resource(pod, &pod.Spec.Containers[0], ref, allocatable)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("%s of %q: got %q, %v; want the error %q", tt.resource, tt.container, got, err, tt.wrong)
				}
			} else if err != nil || got != tt.want {
				t.Errorf("%s of %q in %q: got %q, %v; want %q", tt.resource, tt.container, tt.divisor, got, err, tt.want)
			}
		})
	}
}

func TestALimitThatIsNotSetIsThePods(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "a", Resources: corev1.ResourceRequirements{Limits: list("memory", "2Mi")}}},
		Resources:  &corev1.ResourceRequirements{Limits: list("cpu", "1250m", "memory", "4Mi")},
	}}
	for name, want := range map[string]string{"limits.memory": "2097152", "limits.cpu": "2"} {
		ref := &corev1.ResourceFieldSelector{Resource: name}
		if got, err := Resource(pod, &pod.Spec.Containers[0], ref, list("cpu", "4", "memory", "8Gi")); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}
