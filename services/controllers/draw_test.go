package controllers

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func template(app string, restart corev1.RestartPolicy) corev1.PodTemplateSpec {
	stay := func(key string) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(20))}
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			RestartPolicy: restart, TerminationGracePeriodSeconds: new(int64(30)),
			Containers:  []corev1.Container{{Name: "c", Image: "image:0"}},
			Tolerations: []corev1.Toleration{stay(corev1.TaintNodeNotReady), stay(corev1.TaintNodeUnreachable)},
		},
	}
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }

func selecting(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func (w *world) drawDeployment() {
	d := &appsv1.Deployment{ObjectMeta: named("web"), Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(1 + w.Rand.IntN(6))), Selector: selecting("web"), Template: template("web", corev1.RestartPolicyAlways),
		MinReadySeconds: int32(3 * w.Rand.IntN(2)), RevisionHistoryLimit: new(int32(2)), ProgressDeadlineSeconds: new(int32(600)),
	}}
	surge, out := w.Rand.IntN(3), w.Rand.IntN(3)
	if surge+out == 0 {
		surge = 1
	}
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
		MaxSurge: new(intstr.FromInt(surge)), MaxUnavailable: new(intstr.FromInt(out)),
	}}
	if w.Rand.IntN(5) == 0 {
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}
	w.deployments.Put(d)
	w.services.Put(service("web", "10.0.0.1"))
	w.budgets.Put(&policyv1.PodDisruptionBudget{ObjectMeta: named("web"), Spec: policyv1.PodDisruptionBudgetSpec{Selector: selecting("web"), MinAvailable: new(intstr.FromInt(1))}})
	if temp := w.namespaces.Get("", "temp"); temp != nil && temp.DeletionTimestamp == nil && w.deployments.Get("temp", "web") == nil {
		other := d.DeepCopy()
		other.Namespace = "temp"
		w.deployments.Put(other)
	}
}

func service(app, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: named(app), Spec: corev1.ServiceSpec{
		ClusterIP: ip, ClusterIPs: []string{ip}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Selector: map[string]string{"app": app},
		Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt(8080)}},
	}}
}

func (w *world) drawSets() {
	w.sets.Put(&appsv1.ReplicaSet{ObjectMeta: named("solo"), Spec: appsv1.ReplicaSetSpec{
		Replicas: new(int32(1 + w.Rand.IntN(4))), Selector: selecting("solo"), Template: template("solo", corev1.RestartPolicyAlways),
	}})
	t := template("old", corev1.RestartPolicyAlways)
	w.replicators.Put(&corev1.ReplicationController{ObjectMeta: named("old"), Spec: corev1.ReplicationControllerSpec{
		Replicas: new(int32(1 + w.Rand.IntN(3))), Selector: map[string]string{"app": "old"}, Template: &t,
	}})
}

func (w *world) drawStateful() {
	policies := []appsv1.PersistentVolumeClaimRetentionPolicyType{"Retain", "Delete"}
	set := &appsv1.StatefulSet{ObjectMeta: named("db"), Spec: appsv1.StatefulSetSpec{
		Replicas: new(int32(1 + w.Rand.IntN(3))), Selector: selecting("db"), Template: template("db", corev1.RestartPolicyAlways), ServiceName: "db",
		RevisionHistoryLimit: new(int32(2)), PodManagementPolicy: []appsv1.PodManagementPolicyType{"OrderedReady", "Parallel"}[w.Rand.IntN(2)],
		UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: "RollingUpdate", RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32)}},
		PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
			WhenScaled: policies[w.Rand.IntN(2)], WhenDeleted: policies[w.Rand.IntN(2)],
		},
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
			ObjectMeta: metav1.ObjectMeta{Name: "data"},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: new("local"), VolumeMode: new(corev1.PersistentVolumeFilesystem),
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		}},
	}}
	w.stateful.Put(set)
}

func (w *world) drawDaemons() {
	update := appsv1.RollingUpdateDaemonSet{MaxSurge: new(intstr.FromInt(0)), MaxUnavailable: new(intstr.FromInt(1))}
	if w.Rand.IntN(2) == 0 {
		update = appsv1.RollingUpdateDaemonSet{MaxSurge: new(intstr.FromInt(1)), MaxUnavailable: new(intstr.FromInt(0))}
	}
	w.daemons.Put(&appsv1.DaemonSet{ObjectMeta: named("agent"), Spec: appsv1.DaemonSetSpec{
		Selector: selecting("agent"), Template: template("agent", corev1.RestartPolicyAlways), RevisionHistoryLimit: new(int32(2)),
		UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &update},
	}})
}

func (w *world) drawJob() {
	job := &batchv1.Job{ObjectMeta: named("work"), Spec: batchv1.JobSpec{
		Parallelism: new(int32(1 + w.Rand.IntN(3))), Completions: new(int32(1 + w.Rand.IntN(5))), BackoffLimit: new(int32(w.Rand.IntN(20))),
		Template: template("work", corev1.RestartPolicyNever),
	}}
	if w.Rand.IntN(2) == 0 {
		job.Spec.CompletionMode = new(batchv1.IndexedCompletion)
	}
	if w.Rand.IntN(3) == 0 {
		job.Spec.TTLSecondsAfterFinished = new(int32(30))
	}
	w.jobs.Put(job)
}

func (w *world) drawCron() {
	policies := []batchv1.ConcurrencyPolicy{batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent}
	w.crons.Put(&batchv1.CronJob{ObjectMeta: named("often"), Spec: batchv1.CronJobSpec{
		Schedule: "* * * * *", ConcurrencyPolicy: policies[w.Rand.IntN(3)], Suspend: new(false), SuccessfulJobsHistoryLimit: new(int32(2)), FailedJobsHistoryLimit: new(int32(1)),
		JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template("often", corev1.RestartPolicyNever)}},
	}})
}

func (w *world) drawOthers() {
	w.quotas.Put(&corev1.ResourceQuota{ObjectMeta: named("q"), Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
		corev1.ResourcePods: resource.MustParse("100"), "count/jobs.batch": resource.MustParse("100"),
	}}})
}
