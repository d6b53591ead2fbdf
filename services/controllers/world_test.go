package controllers

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	migrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubus "kubus.dev/proto"
	rule "kubus.dev/proto/volume"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/sim"
)

// world is a cluster with nodes, a scheduler and users. In a quiet play only
// controllers take pods away, and every bound holds to the letter.
type world struct {
	*sim.Cluster
	quiet   bool
	strict  bool                 // it was quiet from the start
	silent  map[string]bool      // nodes that are not heard of
	revived map[string]time.Time // when they were heard of again
	beats   map[string]time.Time // the last of each node
	disk    map[string]bool      // folders, by node and volume

	namespaces  sim.Collection[corev1.Namespace]
	nodes       sim.Collection[corev1.Node]
	pods        sim.Collection[corev1.Pod]
	services    sim.Collection[corev1.Service]
	slices      sim.Collection[discoveryv1.EndpointSlice]
	accounts    sim.Collection[corev1.ServiceAccount]
	quotas      sim.Collection[corev1.ResourceQuota]
	budgets     sim.Collection[policyv1.PodDisruptionBudget]
	claims      sim.Collection[corev1.PersistentVolumeClaim]
	volumes     sim.Collection[corev1.PersistentVolume]
	classes     sim.Collection[storagev1.StorageClass]
	deployments sim.Collection[appsv1.Deployment]
	sets        sim.Collection[appsv1.ReplicaSet]
	replicators sim.Collection[corev1.ReplicationController]
	stateful    sim.Collection[appsv1.StatefulSet]
	daemons     sim.Collection[appsv1.DaemonSet]
	jobs        sim.Collection[batchv1.Job]
	crons       sim.Collection[batchv1.CronJob]

	rules
}

const ns = "ns"

func newWorld(t *testing.T, seed uint64) *world {
	settings := frame.Settings{
		PodCIDR: "10.244.0.0/16", NodeMaskSize: 24, RootCA: "CA", NodeGracePeriod: 40 * time.Second, NodeStartGracePeriod: time.Minute, TerminatedPodThreshold: 12500,
	}
	c := sim.NewCluster(t, seed, sim.Odds{LostRequest: 0.03, LostAnswer: 0.03, Crash: 0.004, Touch: 0.05, Refuse: 0.05, Gone: *gone}, settings, Groups())
	w := &world{Cluster: c, silent: map[string]bool{}, revived: map[string]time.Time{}, beats: map[string]time.Time{}, disk: map[string]bool{}, rules: newRules()}
	w.quiet = w.Rand.IntN(2) == 0
	w.strict = w.quiet
	w.keep()
	w.Watch, w.Answer = w.judge, w.folder
	for _, name := range []string{"kube-system", "kube-public", ns, "temp"} {
		w.namespaces.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	for i := range 2 + w.Rand.IntN(3) {
		node := readyNode(fmt.Sprint("node", i))
		if i > 0 { // which of several gets which range depends on who comes first
			node.Spec.PodCIDR = fmt.Sprintf("10.244.%d.0/24", i)
			node.Spec.PodCIDRs = []string{node.Spec.PodCIDR}
		}
		w.nodes.Put(node)
	}
	w.beat()
	w.classes.Put(&storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "local", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: rule.LocalProvisioner, VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer), ReclaimPolicy: new(corev1.PersistentVolumeReclaimDelete),
	})
	for _, draw := range []func(){w.drawDeployment, w.drawSets, w.drawStateful, w.drawDaemons, w.drawJob, w.drawCron, w.drawOthers} {
		if w.Rand.IntN(3) > 0 {
			draw()
		}
	}
	w.Start("a")
	w.Start("b")
	return w
}

// keep has the API serve all kinds that controllers follow.
func (w *world) keep() {
	c := w.Cluster
	w.namespaces = sim.Keep(c, func(m *mirror.World) *mirror.Kind[corev1.Namespace] { return m.Namespaces })
	w.nodes = sim.Keep(c, func(m *mirror.World) *mirror.Kind[corev1.Node] { return m.Nodes })
	w.pods = sim.Keep(c, func(m *mirror.World) *mirror.Kind[corev1.Pod] { return m.Pods })
	w.services = sim.Keep(c, func(m *mirror.World) *mirror.Kind[corev1.Service] { return m.Services })
	w.slices = sim.Keep(c, func(m *mirror.World) *mirror.Kind[discoveryv1.EndpointSlice] { return m.EndpointSlices })
	w.accounts = sim.Keep(c, func(m *mirror.World) *mirror.Kind[corev1.ServiceAccount] { return m.ServiceAccounts })
	w.quotas = sim.Keep(c, func(m *mirror.World) *mirror.Kind[corev1.ResourceQuota] { return m.ResourceQuotas })
	w.budgets = sim.Keep(c, func(m *mirror.World) *mirror.Kind[policyv1.PodDisruptionBudget] { return m.PodDisruptionBudgets })
	w.claims = sim.Keep(c, func(m *mirror.World) *mirror.Kind[corev1.PersistentVolumeClaim] { return m.PersistentVolumeClaims })
	w.volumes = sim.Keep(c, func(m *mirror.World) *mirror.Kind[corev1.PersistentVolume] { return m.PersistentVolumes })
	w.classes = sim.Keep(c, func(m *mirror.World) *mirror.Kind[storagev1.StorageClass] { return m.StorageClasses })
	w.deployments = sim.Keep(c, func(m *mirror.World) *mirror.Kind[appsv1.Deployment] { return m.Deployments })
	w.sets = sim.Keep(c, func(m *mirror.World) *mirror.Kind[appsv1.ReplicaSet] { return m.ReplicaSets })
	w.replicators = sim.Keep(c, func(m *mirror.World) *mirror.Kind[corev1.ReplicationController] { return m.ReplicationControllers })
	w.stateful = sim.Keep(c, func(m *mirror.World) *mirror.Kind[appsv1.StatefulSet] { return m.StatefulSets })
	w.daemons = sim.Keep(c, func(m *mirror.World) *mirror.Kind[appsv1.DaemonSet] { return m.DaemonSets })
	w.jobs = sim.Keep(c, func(m *mirror.World) *mirror.Kind[batchv1.Job] { return m.Jobs })
	w.crons = sim.Keep(c, func(m *mirror.World) *mirror.Kind[batchv1.CronJob] { return m.CronJobs })

	sim.Keep(c, func(m *mirror.World) *mirror.Kind[corev1.Endpoints] { return m.Endpoints })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[corev1.Secret] { return m.Secrets })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[appsv1.ControllerRevision] { return m.ControllerRevisions })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[autoscalingv2.HorizontalPodAutoscaler] {
		return m.HorizontalPodAutoscalers
	})
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[coordinationv1.Lease] { return m.Leases })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[storagev1.CSIDriver] { return m.CSIDrivers })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[storagev1.CSINode] { return m.CSINodes })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[storagev1.CSIStorageCapacity] { return m.CSIStorageCapacities })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[storagev1.VolumeAttachment] { return m.VolumeAttachments })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[storagev1.VolumeAttributesClass] { return m.VolumeAttributesClasses })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[rbacv1.ClusterRole] { return m.ClusterRoles })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[certificatesv1.CertificateSigningRequest] {
		return m.CertificateSigningRequests
	})
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[certificatesv1.ClusterTrustBundle] { return m.ClusterTrustBundles })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[certificatesv1.PodCertificateRequest] {
		return m.PodCertificateRequests
	})
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[networkingv1.ServiceCIDR] { return m.ServiceCIDRs })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[networkingv1.IPAddress] { return m.IPAddresses })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[resourcev1.ResourceClaim] { return m.ResourceClaims })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[resourcev1.ResourceClaimTemplate] { return m.ResourceClaimTemplates })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[resourcev1.ResourceSlice] { return m.ResourceSlices })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[resourcev1.DeviceClass] { return m.DeviceClasses })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[resourcev1.DeviceTaintRule] { return m.DeviceTaintRules })
	sim.Keep(c, func(m *mirror.World) *mirror.Kind[migrationv1.StorageVersionMigration] {
		return m.StorageVersionMigrations
	})
	sim.KeepOther[corev1.ConfigMap](c, corev1.SchemeGroupVersion.WithKind("ConfigMap"), "configmaps", true)
}

func readyNode(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("100")},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}},
		},
	}
}

// beat is a sign of life of each node that was not heard of for a while.
func (w *world) beat() {
	for _, node := range w.nodes.List() {
		if now := time.Now(); !w.silent[node.Name] && now.Sub(w.beats[node.Name]) >= 5*time.Second {
			w.beats[node.Name] = now
			w.Publish(kubus.HeartbeatSubject(node.Name), nil)
		}
	}
}
