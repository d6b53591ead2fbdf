package resourcequota

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/controllers/internal/pod"
)

// podFreed is true of changes after which a pod may use less, or be in other scopes.
func podFreed(old, new *corev1.Pod) bool {
	return !pod.Terminal(old) && pod.Terminal(new) || old.DeletionTimestamp == nil && new.DeletionTimestamp != nil ||
		hasDeadline(old) != hasDeadline(new) || resized(old, new)
}

// resized compares what the containers ask for and what they have been given.
func resized(old, new *corev1.Pod) bool {
	asked := func(p *corev1.Pod) (all []corev1.ResourceRequirements) {
		if p.Spec.Resources != nil {
			all = append(all, *p.Spec.Resources)
		}
		for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range containers {
				all = append(all, containers[i].Resources)
			}
		}
		return all
	}
	given := func(p *corev1.Pod) (all []*corev1.ResourceRequirements) {
		for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for i := range statuses {
				all = append(all, statuses[i].Resources)
			}
		}
		return all
	}
	return !equality.Semantic.DeepEqual(asked(old), asked(new)) || !equality.Semantic.DeepEqual(given(old), given(new))
}

func serviceFreed(old, new *corev1.Service) bool {
	return !equal(serviceUse(old), serviceUse(new))
}

func claimFreed(old, new *corev1.PersistentVolumeClaim) bool {
	return !equal(claimUse(old), claimUse(new)) || !slices.Equal(attributesClasses(old), attributesClasses(new))
}

// namespaceOf panics for a T that is no Kubernetes object, which is a broken program.
func namespaceOf[T any](object *T) string { return any(object).(metav1.Object).GetNamespace() }
