package status

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Sidecar tells whether an init container is one that keeps running.
func Sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// Restarts tells whether a container that ended with the code is to run again:
// the container's own rules, then its policy, then the pod's.
func Restarts(pod *corev1.Pod, c *corev1.Container, exitCode int32) bool {
	if c.RestartPolicy != nil {
		if rule(c, exitCode) != "" {
			return true
		}
		switch *c.RestartPolicy {
		case corev1.ContainerRestartPolicyAlways:
			return true
		case corev1.ContainerRestartPolicyOnFailure:
			return exitCode != 0
		case corev1.ContainerRestartPolicyNever:
			return false
		}
	}
	switch pod.Spec.RestartPolicy {
	case corev1.RestartPolicyOnFailure:
		return exitCode != 0
	case corev1.RestartPolicyNever:
		return false
	}
	return true
}

// RestartsAll tells whether a container that ended with the code asks for all containers of its pod to start anew.
func RestartsAll(c *corev1.Container, exitCode int32) bool {
	return rule(c, exitCode) == corev1.ContainerRestartRuleActionRestartAllContainers
}

// MayRestartAll tells whether a container of the pod has a rule by which all may start anew.
func MayRestartAll(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for j := range list[i].RestartPolicyRules {
				if list[i].RestartPolicyRules[j].Action == corev1.ContainerRestartRuleActionRestartAllContainers {
					return true
				}
			}
		}
	}
	return false
}

// rule is the action of the first of the container's rules that the exit code fits; "" when none does.
func rule(c *corev1.Container, exitCode int32) corev1.ContainerRestartRuleAction {
	if c.RestartPolicy == nil {
		return ""
	}
	for i := range c.RestartPolicyRules {
		if r := &c.RestartPolicyRules[i]; r.ExitCodes != nil && matches(r.ExitCodes, exitCode) {
			return r.Action
		}
	}
	return ""
}

func matches(on *corev1.ContainerRestartRuleOnExitCodes, code int32) bool {
	in := slices.Contains(on.Values, code)
	switch on.Operator {
	case corev1.ContainerRestartRuleOnExitCodesOpIn:
		return in
	case corev1.ContainerRestartRuleOnExitCodesOpNotIn:
		return !in
	}
	return false
}

// InitRestarts is Restarts for a regular init container: it runs once when it
// succeeds, and a pod that always restarts repeats its failures.
func InitRestarts(pod *corev1.Pod, c *corev1.Container, exitCode int32) bool {
	return exitCode != 0 && Restarts(pod, c, exitCode)
}
