package job

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

const indexVariable = "JOB_COMPLETION_INDEX"

// tracked is true of a pod that no status has counted yet: it has the finalizer.
func tracked(p *corev1.Pod) bool { return slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) }

// failuresBefore is how often pods of its index failed before this one, as far as that
// counts towards backoffLimitPerIndex.
func failuresBefore(p *corev1.Pod) int32 { return number(p, batchv1.JobIndexFailureCountAnnotation) }

// allFailuresBefore also has the failures that the job ignores.
func allFailuresBefore(p *corev1.Pod) int32 {
	return failuresBefore(p) + number(p, batchv1.JobIndexIgnoredFailureCountAnnotation)
}

// number is an annotation's value; zero when users have made it something else.
func number(p *corev1.Pod, annotation string) int32 {
	n, err := strconv.Atoi(p.Annotations[annotation])
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0
	}
	return int32(n)
}

// templateOf is the job's template as its pods of a step share it.
func templateOf(job *batchv1.Job) *corev1.PodTemplateSpec {
	template := job.Spec.Template.DeepCopy()
	if !slices.Contains(template.Finalizers, batchv1.JobTrackingFinalizer) {
		template.Finalizers = append(template.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if indexed(job) {
		for _, containers := range [][]corev1.Container{template.Spec.InitContainers, template.Spec.Containers} {
			for i := range containers {
				nameIndex(&containers[i])
			}
		}
	}
	return template
}

// nameIndex gives a container its index in the environment, unless that name is taken.
func nameIndex(c *corev1.Container) {
	if slices.ContainsFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == indexVariable }) {
		return
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: indexVariable, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: fmt.Sprintf("metadata.labels['%s']", batchv1.JobCompletionIndexAnnotation)},
	}})
}

// place marks the pod of an index.
func place(job *batchv1.Job, p *corev1.Pod, b birth) {
	index := strconv.Itoa(b.Index)
	for _, target := range []*map[string]string{&p.Annotations, &p.Labels} {
		if *target == nil {
			*target = map[string]string{}
		}
		(*target)[batchv1.JobCompletionIndexAnnotation] = index
	}
	p.Spec.Hostname = job.Name + "-" + index
	if job.Spec.BackoffLimitPerIndex == nil {
		return
	}
	counted, ignored := inherited(job, b.Replaces)
	p.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(int(counted))
	if ignored > 0 {
		p.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(int(ignored))
	}
}

// inherited are the failures of an index, counted and ignored, after the pod failed
// that is replaced.
func inherited(job *batchv1.Job, replaced *corev1.Pod) (counted, ignored int32) {
	if replaced == nil {
		return 0, 0
	}
	counted, ignored = failuresBefore(replaced), number(replaced, batchv1.JobIndexIgnoredFailureCountAnnotation)
	if rule(job, replaced).counts {
		return counted + 1, ignored
	}
	return counted, ignored + 1
}

// prefixOf is the generateName of the pod of an index; the index survives shortening.
func prefixOf(job *batchv1.Job, index int) string {
	suffix := fmt.Sprintf("-%d-", index)
	const longest = 63 - 5 // as the API shortens a generateName
	return job.Name[:min(len(job.Name), longest-len(suffix))] + suffix
}
