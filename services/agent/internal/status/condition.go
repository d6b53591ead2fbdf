package status

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of conditions.
const (
	podCompleted             = "PodCompleted"
	podFailed                = "PodFailed"
	containersNotReady       = "ContainersNotReady"
	containersNotInitialized = "ContainersNotInitialized"
	readinessGatesNotReady   = "ReadinessGatesNotReady"
)

// owned lists the conditions that the node writes; all others are kept as they are.
var owned = map[corev1.PodConditionType]bool{
	corev1.PodScheduled: true, corev1.PodReady: true, corev1.PodInitialized: true,
	corev1.ContainersReady: true, corev1.PodReadyToStartContainers: true,
	corev1.PodResizePending: true, corev1.PodResizeInProgress: true, corev1.AllContainersRestarting: true,
}

func conditions(in Input, s *corev1.PodStatus, started bool) []corev1.PodCondition {
	var out []corev1.PodCondition
	disrupted := disruption(in)
	for _, c := range in.Pod.Status.Conditions {
		if !owned[c.Type] && (c.Type != corev1.DisruptionTarget || disrupted == nil) {
			out = append(out, c)
		}
	}
	if disrupted != nil {
		out = append(out, *disrupted)
	}
	foreign := out
	add := func(t corev1.PodConditionType, v verdict) {
		c := corev1.PodCondition{
			Type: t, Status: corev1.ConditionFalse, Reason: v.reason, Message: v.message,
			ObservedGeneration: in.Pod.Generation,
		}
		if v.ok {
			c.Status = corev1.ConditionTrue
		}
		c.LastTransitionTime = second(in.Now)
		for _, old := range [][]corev1.PodCondition{in.Previous.Conditions, in.Pod.Status.Conditions} {
			if p := condition(old, t); p != nil && p.Status == c.Status && !p.LastTransitionTime.IsZero() {
				c.LastTransitionTime = metav1.Time{Time: p.LastTransitionTime.UTC()}
				break
			}
		}
		out = append(out, c)
	}
	containers := containersReady(in, s)
	out = append(out, in.Resize...)
	add(corev1.PodReadyToStartContainers, verdict{ok: in.SandboxReady})
	add(corev1.PodInitialized, initialized(in, s, started))
	add(corev1.PodReady, podReady(in.Pod, foreign, containers))
	add(corev1.ContainersReady, containers)
	add(corev1.PodScheduled, verdict{ok: true})
	if MayRestartAll(in.Pod) {
		add(corev1.AllContainersRestarting, restartingAll(in, s))
	}
	return out
}

// disruption is the condition of a pod that the node has evicted for its own sake; nil for all others.
func disruption(in Input) *corev1.PodCondition {
	if f := in.Failure; f != nil && f.Evicted && !f.Own && in.Terminal {
		c := &corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet,
			Message: f.Message, ObservedGeneration: in.Pod.Generation, LastTransitionTime: second(in.Now),
		}
		if p := condition(in.Previous.Conditions, c.Type); p != nil && p.Reason == c.Reason {
			c.LastTransitionTime = p.LastTransitionTime
		}
		return c
	}
	if c := condition(in.Previous.Conditions, corev1.DisruptionTarget); c != nil && c.Reason == corev1.PodReasonTerminationByKubelet {
		return c.DeepCopy() // told by an agent of before
	}
	return nil
}

func restartingAll(in Input, s *corev1.PodStatus) verdict {
	switch {
	case s.Phase == corev1.PodSucceeded:
		return verdict{reason: podCompleted}
	case s.Phase == corev1.PodFailed:
		return verdict{reason: podFailed}
	case in.anew():
		return verdict{ok: true, reason: "RestartAllContainersStarted", message: "container exited with restart policy rule"}
	}
	return verdict{}
}

// RestartingAll tells whether a status says that all containers are to start anew.
func RestartingAll(s *corev1.PodStatus) bool {
	c := condition(s.Conditions, corev1.AllContainersRestarting)
	return c != nil && c.Status == corev1.ConditionTrue
}

type verdict struct {
	ok              bool
	reason, message string
}

func containersReady(in Input, s *corev1.PodStatus) verdict {
	switch s.Phase {
	case corev1.PodSucceeded:
		return verdict{reason: podCompleted}
	case corev1.PodFailed:
		return verdict{reason: podFailed}
	}
	var unready []string
	for i := range in.Pod.Spec.InitContainers {
		c := &in.Pod.Spec.InitContainers[i]
		if st := find(s.InitContainerStatuses, c.Name); Sidecar(c) && (st == nil || !st.Ready) {
			unready = append(unready, c.Name)
		}
	}
	for i := range in.Pod.Spec.Containers {
		c := &in.Pod.Spec.Containers[i]
		if st := find(s.ContainerStatuses, c.Name); st == nil || !st.Ready {
			unready = append(unready, c.Name)
		}
	}
	if len(unready) > 0 {
		return verdict{reason: containersNotReady, message: fmt.Sprintf("containers with unready status: %s", unready)}
	}
	return verdict{ok: true}
}

func podReady(pod *corev1.Pod, foreign []corev1.PodCondition, containers verdict) verdict {
	if !containers.ok {
		return containers
	}
	var unready []string
	for _, g := range pod.Spec.ReadinessGates {
		switch c := condition(foreign, g.ConditionType); {
		case c == nil:
			unready = append(unready, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", string(g.ConditionType)))
		case c.Status != corev1.ConditionTrue:
			unready = append(unready, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", string(g.ConditionType), c.Status))
		}
	}
	if len(unready) > 0 {
		return verdict{reason: readinessGatesNotReady, message: strings.Join(unready, ", ")}
	}
	return verdict{ok: true}
}

func initialized(in Input, s *corev1.PodStatus, started bool) verdict {
	if s.Phase == corev1.PodSucceeded {
		return verdict{ok: true, reason: podCompleted}
	}
	if started {
		return verdict{ok: true}
	}
	var incomplete []string
	for i := range in.Pod.Spec.InitContainers {
		c := &in.Pod.Spec.InitContainers[i]
		st := find(s.InitContainerStatuses, c.Name)
		if Sidecar(c) && (st == nil || st.Started == nil || !*st.Started) || !Sidecar(c) && (st == nil || !st.Ready) {
			incomplete = append(incomplete, c.Name)
		}
	}
	if len(incomplete) > 0 {
		return verdict{reason: containersNotInitialized, message: fmt.Sprintf("containers with incomplete status: %s", incomplete)}
	}
	return verdict{ok: true}
}

func condition(list []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range list {
		if list[i].Type == t {
			return &list[i]
		}
	}
	return nil
}
