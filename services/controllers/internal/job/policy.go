package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// ruling is what the job's podFailurePolicy says of a failed pod.
type ruling struct {
	counts    bool   // towards backoffLimit and backoffLimitPerIndex
	failIndex bool   // its index is given up at once
	failJob   string // why the whole job is given up at once; "" when it is not
}

// rule gives the first rule that matches a failed pod. Without one the failure counts.
func rule(job *batchv1.Job, pod *corev1.Pod) ruling {
	if job.Spec.PodFailurePolicy == nil {
		return ruling{counts: true}
	}
	for i := range job.Spec.PodFailurePolicy.Rules {
		r := &job.Spec.PodFailurePolicy.Rules[i]
		why := matched(r, pod)
		if why == "" {
			continue
		}
		switch r.Action {
		case batchv1.PodFailurePolicyActionIgnore:
			return ruling{}
		case batchv1.PodFailurePolicyActionCount:
			return ruling{counts: true}
		case batchv1.PodFailurePolicyActionFailIndex:
			return ruling{counts: true, failIndex: true}
		case batchv1.PodFailurePolicyActionFailJob:
			return ruling{counts: true, failJob: fmt.Sprintf("%s matching %v rule at index %d", why, r.Action, i)}
		}
	}
	return ruling{counts: true}
}

// matched says what of the pod a rule matches; "" when nothing does.
func matched(r *batchv1.PodFailurePolicyRule, pod *corev1.Pod) string {
	switch {
	case r.OnExitCodes != nil:
		for _, statuses := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
			for i := range statuses {
				if s := &statuses[i]; exitMatches(r.OnExitCodes, s) {
					return fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v", s.Name, pod.Namespace, pod.Name, s.State.Terminated.ExitCode)
				}
			}
		}
	case r.OnPodConditions != nil:
		for _, condition := range pod.Status.Conditions {
			if slices.Contains(r.OnPodConditions, batchv1.PodFailurePolicyOnPodConditionsPattern{Type: condition.Type, Status: condition.Status}) {
				return fmt.Sprintf("Pod %s/%s has condition %v", pod.Namespace, pod.Name, condition.Type)
			}
		}
	}
	return ""
}

func exitMatches(wanted *batchv1.PodFailurePolicyOnExitCodesRequirement, s *corev1.ContainerStatus) bool {
	if s.State.Terminated == nil || s.State.Terminated.ExitCode == 0 || wanted.ContainerName != nil && *wanted.ContainerName != s.Name {
		return false
	}
	listed := slices.Contains(wanted.Values, s.State.Terminated.ExitCode)
	return wanted.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && listed ||
		wanted.Operator == batchv1.PodFailurePolicyOnExitCodesOpNotIn && !listed
}

// succeeds tells which rule of the job's successPolicy its succeeded indexes meet; -1 for none.
func succeeds(job *batchv1.Job, succeeded indexes) int {
	if job.Spec.SuccessPolicy == nil || len(succeeded) == 0 {
		return -1
	}
	for i, r := range job.Spec.SuccessPolicy.Rules {
		if r.SucceededIndexes == nil {
			if r.SucceededCount != nil && succeeded.count() >= int(*r.SucceededCount) {
				return i
			}
			continue
		}
		wanted := parseIndexes(*r.SucceededIndexes, int(*job.Spec.Completions))
		have := wanted.common(succeeded)
		if len(wanted) > 0 && (have == wanted.count() || r.SucceededCount != nil && have >= int(*r.SucceededCount)) {
			return i
		}
	}
	return -1
}
