package volume

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestThePagesOfAnEmptyDirAreThoseThatThePodAsksFor(t *testing.T) {
	t.Parallel()
	asks := func(names ...corev1.ResourceName) *corev1.Pod {
		pod := &corev1.Pod{}
		for _, n := range names {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{n: resource.MustParse("1Gi"), "memory": resource.MustParse("1Gi")}}})
		}
		return pod
	}
	const none = "hugePages storage requested, but there is no resource request for huge pages"
	for name, c := range map[string]struct {
		medium corev1.StorageMedium
		pod    *corev1.Pod
		want   string
		err    string
	}{
		"the only size":       {"HugePages", asks("hugepages-2Mi", "hugepages-2Mi"), "2Mi", ""},
		"one of two, by name": {"HugePages-1Gi", asks("hugepages-2Mi", "hugepages-1Gi"), "1Gi", ""},
		"two, and no name":    {"HugePages", asks("hugepages-2Mi", "hugepages-1Gi"), "", "medium: HugePages can't be used if container requests multiple huge page sizes"},
		"none":                {"HugePages", asks(), "", "medium HugePages: " + none},
		"another":             {"HugePages-1Gi", asks("hugepages-2Mi"), "", "medium HugePages-1Gi: " + none},
	} {
		got, err := pageSize(c.medium, c.pod)
		if err != nil {
			if err.Error() != c.err {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if c.err != "" || got.String() != c.want {
			t.Errorf("%s: %s, want %s %s", name, got.String(), c.want, c.err)
		}
	}
}
