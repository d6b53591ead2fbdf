package volume

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// pageSize is the size of the pages of an emptyDir of huge ones, in kubelet's words: the one that the medium names, or
// that the pod asks for.
func pageSize(medium corev1.StorageMedium, pod *corev1.Pod) (size resource.Quantity, err error) {
	var named resource.Quantity
	if medium != corev1.StorageMediumHugePages {
		if named, err = resource.ParseQuantity(strings.TrimPrefix(string(medium), string(corev1.StorageMediumHugePagesPrefix))); err != nil {
			return size, fmt.Errorf("medium %s names no page size: %w", medium, err)
		}
	}
	found := false
	for _, list := range requests(pod) {
		for name := range list {
			text, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
			if !ok {
				continue
			}
			asked, err := resource.ParseQuantity(text)
			if err != nil {
				return size, fmt.Errorf("%s names no page size: %w", name, err)
			}
			switch {
			case medium != corev1.StorageMediumHugePages && asked.Cmp(named) != 0:
				continue
			case found && size.Cmp(asked) != 0:
				return size, fmt.Errorf("medium: %s can't be used if container requests multiple huge page sizes", medium)
			}
			size, found = asked, true
		}
	}
	if !found {
		return size, fmt.Errorf("medium %s: hugePages storage requested, but there is no resource request for huge pages", medium)
	}
	return size, nil
}

func requests(pod *corev1.Pod) (lists []corev1.ResourceList) {
	if pod.Spec.Resources != nil {
		lists = append(lists, pod.Spec.Resources.Requests)
	}
	for _, c := range pod.Spec.Containers {
		lists = append(lists, c.Resources.Requests)
	}
	for _, c := range pod.Spec.InitContainers {
		lists = append(lists, c.Resources.Requests)
	}
	return lists
}
