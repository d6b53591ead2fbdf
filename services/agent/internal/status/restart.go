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
		for i := range c.RestartPolicyRules {
			rule := &c.RestartPolicyRules[i]
			if rule.ExitCodes != nil && matches(rule.ExitCodes, exitCode) && rule.Action == corev1.ContainerRestartRuleActionRestart {
				return true
			}
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
