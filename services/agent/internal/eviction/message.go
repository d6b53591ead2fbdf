package eviction

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Reason is that of pods that were evicted, and of those that a node under pressure refuses.
const Reason = "Evicted"

// Message says why a pod ends for a threshold: what was short, and which of its containers took
// more than they asked for. usage may be nil.
func Message(t *Threshold, seen Observations, pod *corev1.Pod, usage *Usage) string {
	short := t.Resource()
	var text strings.Builder
	fmt.Fprintf(&text, "The node was low on resource: %v. ", short)
	if o, ok := seen[t.Signal]; ok {
		fmt.Fprintf(&text, "Threshold quantity: %v, available: %v. ", t.Value.Of(o.Capacity), quantity(t.Signal, o.Available))
	}
	if usage == nil {
		return text.String()
	}
	if r := pod.Spec.Resources; r != nil && short == corev1.ResourceMemory {
		if request, ok := r.Requests[short]; ok {
			fmt.Fprintf(&text, "Pod %s was using %s, request is %s, has larger consumption of %v. ",
				pod.Name, quantity(t.Signal, usage.Pod[short]), request.String(), short)
		}
	}
	for _, c := range usage.Containers {
		used, measured := c.Use[short]
		spec := container(pod, c.Name)
		if !measured || spec == nil || short == Inodes || short == PIDs {
			continue
		}
		if request := spec.Resources.Requests[short]; used > request.Value() {
			fmt.Fprintf(&text, "Container %s was using %s, request is %s, has larger consumption of %v. ", c.Name, quantity(t.Signal, used), request.String(), short)
		}
	}
	return text.String()
}

func quantity(signal Signal, n int64) *resource.Quantity {
	if signal == NodeFsInodesFree || signal == PIDAvailable {
		return resource.NewQuantity(n, resource.DecimalSI)
	}
	return resource.NewQuantity(n, resource.BinarySI)
}

func container(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		if i := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == name }); i >= 0 {
			return &list[i]
		}
	}
	return nil
}

// Admit tells why a node under pressure does not take a pod; "" when it does.
func Admit(pod *corev1.Pod, conditions []corev1.NodeConditionType, bestEffort bool) string {
	if len(conditions) == 0 || Critical(pod) {
		return ""
	}
	if len(conditions) == 1 && conditions[0] == corev1.NodeMemoryPressure && (!bestEffort || toleratesMemoryPressure(pod)) {
		return ""
	}
	return fmt.Sprintf("The node had condition: %v. ", conditions)
}

func toleratesMemoryPressure(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
		if t.Effect != "" && t.Effect != corev1.TaintEffectNoSchedule {
			return false
		}
		switch t.Operator {
		case corev1.TolerationOpExists:
			return t.Key == "" || t.Key == corev1.TaintNodeMemoryPressure
		case corev1.TolerationOpEqual, "":
			return t.Key == corev1.TaintNodeMemoryPressure && t.Value == ""
		}
		return false
	})
}

// Grace is how many seconds a pod gets to end for a threshold; most bounds what it asks for.
func Grace(t *Threshold, pod *corev1.Pod, most int64) int64 {
	if t.Hard() {
		return 1 // as upstream: what is short is short now
	}
	if own := pod.Spec.TerminationGracePeriodSeconds; own != nil {
		return min(most, *own)
	}
	return most
}
