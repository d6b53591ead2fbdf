package sim

import (
	"maps"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// complete gives a new object what the API's defaults and admission give it.
func (k *kind) complete(o object) {
	phase := func(of string) {
		status := maps.Clone(field(o, "status"))
		if status == nil {
			status = object{}
		}
		if status["phase"] == nil {
			status["phase"] = of
		}
		o["status"] = status
	}
	switch k.resource {
	case "pods":
		phase(string(corev1.PodPending))
	case "persistentvolumeclaims", "persistentvolumes":
		phase("Pending")
	case "namespaces":
		phase(string(corev1.NamespaceActive))
		if spec := field(o, "spec"); spec["finalizers"] == nil {
			o["spec"] = object{"finalizers": []any{string(corev1.FinalizerKubernetes)}}
		}
	case "jobs":
		job := typed[batchv1.Job](o)
		completeJob(job)
		for name, value := range untyped(job) {
			o[name] = value
		}
	}
}

// completeJob is upstream's defaults and the selector that the API makes.
func completeJob(job *batchv1.Job) {
	spec := &job.Spec
	if spec.Completions == nil && spec.Parallelism == nil {
		spec.Completions = new(int32(1))
	}
	if spec.Parallelism == nil {
		spec.Parallelism = new(int32(1))
	}
	if spec.BackoffLimit == nil {
		spec.BackoffLimit = new(int32(6))
	}
	if spec.CompletionMode == nil {
		spec.CompletionMode = new(batchv1.NonIndexedCompletion)
	}
	if spec.Suspend == nil {
		spec.Suspend = new(bool)
	}
	if spec.PodReplacementPolicy == nil {
		spec.PodReplacementPolicy = new(batchv1.TerminatingOrFailed)
	}
	if spec.Selector != nil {
		return
	}
	uid := map[string]string{batchv1.ControllerUidLabel: string(job.UID)}
	spec.Selector = &metav1.LabelSelector{MatchLabels: uid}
	all := maps.Clone(spec.Template.Labels)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, uid)
	all[batchv1.JobNameLabel] = job.Name
	spec.Template.Labels = all
}

func scaleOf(o object) object {
	m := meta(o)
	return object{
		"apiVersion": "autoscaling/v1", "kind": "Scale",
		"metadata": object{"name": m["name"], "namespace": m["namespace"], "uid": m["uid"], "resourceVersion": m["resourceVersion"]},
		"spec":     object{"replicas": field(o, "spec")["replicas"]},
	}
}
