package whatif

import (
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// workload is what makes pods.
type workload struct {
	object
	template corev1.PodTemplateSpec
	count    int // of pods that it wants
	each     bool
	selector labels.Selector // of pods that it has already; nil for none
	owner    string          // kind that owns the pods; "" for a pod by itself
	claims   []corev1.PersistentVolumeClaim
}

func number(n *int32, otherwise int) int {
	if n == nil {
		return otherwise
	}
	return int(*n)
}

// workloadOf reads what makes pods; nil for what does not.
func workloadOf(o object) (*workload, error) {
	w := &workload{object: o}
	var err error
	var selector *metav1.LabelSelector
	switch o.Kind {
	case "Pod":
		var p corev1.Pod
		err = json.Unmarshal(o.data, &p)
		w.template, w.count = corev1.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec}, 1
		if p.Spec.NodeName != "" {
			w.count = 0
		}
	case "Deployment":
		var d appsv1.Deployment
		err = json.Unmarshal(o.data, &d)
		w.template, w.count, selector, w.owner = d.Spec.Template, number(d.Spec.Replicas, 1), d.Spec.Selector, "ReplicaSet"
	case "ReplicaSet":
		var r appsv1.ReplicaSet
		err = json.Unmarshal(o.data, &r)
		w.template, w.count, selector, w.owner = r.Spec.Template, number(r.Spec.Replicas, 1), r.Spec.Selector, "ReplicaSet"
	case "ReplicationController":
		var r corev1.ReplicationController
		if err = json.Unmarshal(o.data, &r); err == nil && r.Spec.Template != nil {
			w.template, w.count, selector, w.owner = *r.Spec.Template, number(r.Spec.Replicas, 1), &metav1.LabelSelector{MatchLabels: r.Spec.Selector}, o.Kind
		}
	case "StatefulSet":
		var s appsv1.StatefulSet
		err = json.Unmarshal(o.data, &s)
		w.template, w.count, selector, w.owner, w.claims = s.Spec.Template, number(s.Spec.Replicas, 1), s.Spec.Selector, o.Kind, s.Spec.VolumeClaimTemplates
	case "DaemonSet":
		var d appsv1.DaemonSet
		err = json.Unmarshal(o.data, &d)
		w.template, w.each, selector, w.owner = d.Spec.Template, true, d.Spec.Selector, o.Kind
	case "Job":
		var j batchv1.Job
		err = json.Unmarshal(o.data, &j)
		w.job(&j)
	case "CronJob":
		var c batchv1.CronJob
		err = json.Unmarshal(o.data, &c)
		w.job(&batchv1.Job{Spec: c.Spec.JobTemplate.Spec})
	default:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", &o, err)
	}
	if selector != nil {
		if w.selector, err = metav1.LabelSelectorAsSelector(selector); err != nil {
			return nil, fmt.Errorf("%s: %w", &o, err)
		}
	}
	return w, nil
}

// job wants as many pods at a time as it may have.
func (w *workload) job(j *batchv1.Job) {
	w.template, w.count, w.owner = j.Spec.Template, number(j.Spec.Parallelism, 1), "Job"
	if j.Spec.Completions != nil {
		w.count = min(w.count, int(*j.Spec.Completions))
	}
	if j.Spec.Suspend != nil && *j.Spec.Suspend {
		w.count = 0
	}
}

// pinned is the affinity of a DaemonSet's pod, as its controller writes it.
func pinned(spec *corev1.PodSpec, node string) {
	a := spec.Affinity.DeepCopy()
	if a == nil {
		a = &corev1.Affinity{}
	}
	if a.NodeAffinity == nil {
		a.NodeAffinity = &corev1.NodeAffinity{}
	}
	only := corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}
	required := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil || len(required.NodeSelectorTerms) == 0 {
		required = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{}}}
	}
	for i := range required.NodeSelectorTerms {
		required.NodeSelectorTerms[i].MatchFields = []corev1.NodeSelectorRequirement{only}
	}
	a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = required
	spec.Affinity = a
}

// daemonTolerations are those that the controller gives every DaemonSet's pod.
var daemonTolerations = []corev1.Toleration{
	{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeDiskPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodePIDPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
}
