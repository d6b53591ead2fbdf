package resize

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
)

// Beginnings of the messages of Events; Pending ends with the reason.
const (
	Started   = "Pod resize started"
	Completed = "Pod resize completed"
	Failed    = "Pod resize error"
	Pending   = "Pod resize "
)

type summary struct {
	InitContainers []containerSummary `json:"initContainers,omitempty"`
	Containers     []containerSummary `json:"containers,omitempty"`
	Generation     int64              `json:"generation"`
	Error          string             `json:"error,omitempty"`
}

type containerSummary struct {
	Name      string                      `json:"name"`
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
}

// Message is an Event's: the beginning, then the pod's resources as JSON. problem may be empty.
// Source: pkg/kubelet/events/resize.go.
func Message(beginning string, pod *corev1.Pod, generation int64, problem string) string {
	s := summary{Generation: generation, Error: problem}
	for i := range pod.Spec.InitContainers {
		s.InitContainers = append(s.InitContainers, containerSummary{pod.Spec.InitContainers[i].Name, pod.Spec.InitContainers[i].Resources})
	}
	for i := range pod.Spec.Containers {
		s.Containers = append(s.Containers, containerSummary{pod.Spec.Containers[i].Name, pod.Spec.Containers[i].Resources})
	}
	data, err := json.Marshal(s)
	if err != nil {
		return beginning
	}
	return beginning + ": " + string(data)
}
