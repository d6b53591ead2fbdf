package oracle

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
)

// Cluster is all that both sides see.
type Cluster struct {
	Nodes      []*corev1.Node
	Pods       []*corev1.Pod // those that run, and pending ones that are nominated
	Namespaces []*corev1.Namespace
	Services   []*corev1.Service
	Sets       []*appsv1.ReplicaSet
	Budgets    []*policyv1.PodDisruptionBudget
	Claims     []*corev1.PersistentVolumeClaim
	Volumes    []*corev1.PersistentVolume
	Classes    []*storagev1.StorageClass
	CSINodes   []*storagev1.CSINode
	Drivers    []*storagev1.CSIDriver
	Capacities []*storagev1.CSIStorageCapacity
	// Asks are the pods in question, each as if it were the next.
	Asks []*corev1.Pod
	// Tune changes the default profile.
	Tune func(*config.KubeSchedulerProfile) `json:"-"`
}

func (c *Cluster) objects() []runtime.Object {
	var out []runtime.Object
	out = all(out, c.Nodes)
	out = all(out, c.Pods)
	out = all(out, c.Asks)
	out = all(out, c.Namespaces)
	out = all(out, c.Services)
	out = all(out, c.Sets)
	out = all(out, c.Budgets)
	out = all(out, c.Claims)
	out = all(out, c.Volumes)
	out = all(out, c.Classes)
	out = all(out, c.CSINodes)
	out = all(out, c.Drivers)
	return all(out, c.Capacities)
}

func all[T runtime.Object](out []runtime.Object, list []T) []runtime.Object {
	for _, o := range list {
		out = append(out, o)
	}
	return out
}

// running are the pods that take room.
func (c *Cluster) running() []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range c.Pods {
		if p.Spec.NodeName != "" {
			out = append(out, p)
		}
	}
	return out
}
