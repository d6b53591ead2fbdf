//lint:file-ignore SA1019 Endpoints are deprecated, and kept for those who still read them.

package mirror

import (
	"context"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Indexes kept for all.
const (
	// ByController files under the UID of the controlling owner.
	ByController = "controller"
	// ByOrphanage files the pods nobody controls under their namespace.
	ByOrphanage = "orphanage"
	// ByNode files pods under the node they are bound to.
	ByNode = "node"
	// ByService files EndpointSlices under namespace/service.
	ByService = "service"
)

// World is every kind that controllers work on. Those are mirrored that somebody follows.
type World struct {
	Pods                       *Kind[corev1.Pod]
	Nodes                      *Kind[corev1.Node]
	Services                   *Kind[corev1.Service]
	Endpoints                  *Kind[corev1.Endpoints]
	Namespaces                 *Kind[corev1.Namespace]
	ServiceAccounts            *Kind[corev1.ServiceAccount]
	Secrets                    *Kind[corev1.Secret]
	ReplicationControllers     *Kind[corev1.ReplicationController]
	ResourceQuotas             *Kind[corev1.ResourceQuota]
	PersistentVolumes          *Kind[corev1.PersistentVolume]
	PersistentVolumeClaims     *Kind[corev1.PersistentVolumeClaim]
	EndpointSlices             *Kind[discoveryv1.EndpointSlice]
	Deployments                *Kind[appsv1.Deployment]
	ReplicaSets                *Kind[appsv1.ReplicaSet]
	StatefulSets               *Kind[appsv1.StatefulSet]
	DaemonSets                 *Kind[appsv1.DaemonSet]
	ControllerRevisions        *Kind[appsv1.ControllerRevision]
	Jobs                       *Kind[batchv1.Job]
	CronJobs                   *Kind[batchv1.CronJob]
	HorizontalPodAutoscalers   *Kind[autoscalingv2.HorizontalPodAutoscaler]
	PodDisruptionBudgets       *Kind[policyv1.PodDisruptionBudget]
	Leases                     *Kind[coordinationv1.Lease]
	StorageClasses             *Kind[storagev1.StorageClass]
	CSIDrivers                 *Kind[storagev1.CSIDriver]
	CSINodes                   *Kind[storagev1.CSINode]
	CSIStorageCapacities       *Kind[storagev1.CSIStorageCapacity]
	VolumeAttachments          *Kind[storagev1.VolumeAttachment]
	VolumeAttributesClasses    *Kind[storagev1.VolumeAttributesClass]
	ClusterRoles               *Kind[rbacv1.ClusterRole]
	CertificateSigningRequests *Kind[certificatesv1.CertificateSigningRequest]
	ClusterTrustBundles        *Kind[certificatesv1.ClusterTrustBundle]
	PodCertificateRequests     *Kind[certificatesv1.PodCertificateRequest]
	ServiceCIDRs               *Kind[networkingv1.ServiceCIDR]
	IPAddresses                *Kind[networkingv1.IPAddress]
	ResourceClaims             *Kind[resourcev1.ResourceClaim]
	ResourceClaimTemplates     *Kind[resourcev1.ResourceClaimTemplate]
	ResourceSlices             *Kind[resourcev1.ResourceSlice]
	DeviceClasses              *Kind[resourcev1.DeviceClass]
	DeviceTaintRules           *Kind[resourcev1.DeviceTaintRule]
	StorageVersionMigrations   *Kind[migrationv1.StorageVersionMigration]

	kinds []Follower
}

// NewWorld returns empty mirrors with their indexes.
func NewWorld() *World {
	w := &World{}
	w.Pods = add[corev1.Pod](w, "", "v1", "Pod", "pods", true)
	w.Nodes = add[corev1.Node](w, "", "v1", "Node", "nodes", false)
	w.Services = add[corev1.Service](w, "", "v1", "Service", "services", true)
	w.Endpoints = add[corev1.Endpoints](w, "", "v1", "Endpoints", "endpoints", true)
	w.Namespaces = add[corev1.Namespace](w, "", "v1", "Namespace", "namespaces", false)
	w.ServiceAccounts = add[corev1.ServiceAccount](w, "", "v1", "ServiceAccount", "serviceaccounts", true)
	w.Secrets = add[corev1.Secret](w, "", "v1", "Secret", "secrets", true)
	w.ReplicationControllers = add[corev1.ReplicationController](w, "", "v1", "ReplicationController", "replicationcontrollers", true)
	w.ResourceQuotas = add[corev1.ResourceQuota](w, "", "v1", "ResourceQuota", "resourcequotas", true)
	w.PersistentVolumes = add[corev1.PersistentVolume](w, "", "v1", "PersistentVolume", "persistentvolumes", false)
	w.PersistentVolumeClaims = add[corev1.PersistentVolumeClaim](w, "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true)
	w.EndpointSlices = add[discoveryv1.EndpointSlice](w, "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true)
	w.Deployments = add[appsv1.Deployment](w, "apps", "v1", "Deployment", "deployments", true)
	w.ReplicaSets = add[appsv1.ReplicaSet](w, "apps", "v1", "ReplicaSet", "replicasets", true)
	w.StatefulSets = add[appsv1.StatefulSet](w, "apps", "v1", "StatefulSet", "statefulsets", true)
	w.DaemonSets = add[appsv1.DaemonSet](w, "apps", "v1", "DaemonSet", "daemonsets", true)
	w.ControllerRevisions = add[appsv1.ControllerRevision](w, "apps", "v1", "ControllerRevision", "controllerrevisions", true)
	w.Jobs = add[batchv1.Job](w, "batch", "v1", "Job", "jobs", true)
	w.CronJobs = add[batchv1.CronJob](w, "batch", "v1", "CronJob", "cronjobs", true)
	w.HorizontalPodAutoscalers = add[autoscalingv2.HorizontalPodAutoscaler](w, "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true)
	w.PodDisruptionBudgets = add[policyv1.PodDisruptionBudget](w, "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true)
	w.Leases = add[coordinationv1.Lease](w, "coordination.k8s.io", "v1", "Lease", "leases", true)
	w.StorageClasses = add[storagev1.StorageClass](w, "storage.k8s.io", "v1", "StorageClass", "storageclasses", false)
	w.CSIDrivers = add[storagev1.CSIDriver](w, "storage.k8s.io", "v1", "CSIDriver", "csidrivers", false)
	w.CSINodes = add[storagev1.CSINode](w, "storage.k8s.io", "v1", "CSINode", "csinodes", false)
	w.CSIStorageCapacities = add[storagev1.CSIStorageCapacity](w, "storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities", true)
	w.VolumeAttachments = add[storagev1.VolumeAttachment](w, "storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", false)
	w.VolumeAttributesClasses = add[storagev1.VolumeAttributesClass](w, "storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses", false)
	w.ClusterRoles = add[rbacv1.ClusterRole](w, "rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false)
	w.CertificateSigningRequests = add[certificatesv1.CertificateSigningRequest](w, "certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", false)
	w.ClusterTrustBundles = add[certificatesv1.ClusterTrustBundle](w, "certificates.k8s.io", "v1", "ClusterTrustBundle", "clustertrustbundles", false)
	w.PodCertificateRequests = add[certificatesv1.PodCertificateRequest](w, "certificates.k8s.io", "v1", "PodCertificateRequest", "podcertificaterequests", true)
	w.ServiceCIDRs = add[networkingv1.ServiceCIDR](w, "networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", false)
	w.IPAddresses = add[networkingv1.IPAddress](w, "networking.k8s.io", "v1", "IPAddress", "ipaddresses", false)
	w.ResourceClaims = add[resourcev1.ResourceClaim](w, "resource.k8s.io", "v1", "ResourceClaim", "resourceclaims", true)
	w.ResourceClaimTemplates = add[resourcev1.ResourceClaimTemplate](w, "resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates", true)
	w.ResourceSlices = add[resourcev1.ResourceSlice](w, "resource.k8s.io", "v1", "ResourceSlice", "resourceslices", false)
	w.DeviceClasses = add[resourcev1.DeviceClass](w, "resource.k8s.io", "v1", "DeviceClass", "deviceclasses", false)
	w.DeviceTaintRules = add[resourcev1.DeviceTaintRule](w, "resource.k8s.io", "v1", "DeviceTaintRule", "devicetaintrules", false)
	w.StorageVersionMigrations = add[migrationv1.StorageVersionMigration](w, "storagemigration.k8s.io", "v1", "StorageVersionMigration", "storageversionmigrations", false)
	w.Pods.trim, w.Secrets.trim = trimPod, trimSecret
	w.Pods.alike, w.ReplicaSets.alike = ByController, ByController
	w.Pods.Index(ByController, func(pod *corev1.Pod) []string { return controllerUID(pod) })
	w.Pods.Index(ByOrphanage, func(pod *corev1.Pod) []string {
		if metav1.GetControllerOfNoCopy(pod) != nil {
			return nil
		}
		return []string{pod.Namespace}
	})
	w.Pods.Index(ByNode, func(pod *corev1.Pod) []string {
		if pod.Spec.NodeName == "" {
			return nil
		}
		return []string{pod.Spec.NodeName}
	})
	w.ReplicaSets.Index(ByController, func(set *appsv1.ReplicaSet) []string { return controllerUID(set) })
	w.ControllerRevisions.Index(ByController, func(revision *appsv1.ControllerRevision) []string { return controllerUID(revision) })
	w.Jobs.Index(ByController, func(job *batchv1.Job) []string { return controllerUID(job) })
	w.EndpointSlices.Index(ByService, func(slice *discoveryv1.EndpointSlice) []string {
		service := slice.Labels[discoveryv1.LabelServiceName]
		if service == "" {
			return nil
		}
		return []string{slice.Namespace + "/" + service}
	})
	return w
}

func add[T any](w *World, group, version, kind, resource string, namespaced bool) *Kind[T] {
	k := newKind[T](group, version, kind, resource, namespaced)
	w.kinds = append(w.kinds, k)
	return k
}

// Run mirrors what is followed until ctx ends.
func (w *World) Run(ctx context.Context, views *statelog.Views, logger *zap.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, kind := range w.kinds {
		group.Go(func() error { return kind.run(ctx, views, logger) })
	}
	return group.Wait()
}

// Followed are the kinds that somebody follows.
func (w *World) Followed() (all []proto.GroupResource) {
	for _, kind := range w.kinds {
		if kind.followed() {
			all = append(all, kind.collection())
		}
	}
	return all
}

// Ready returns once every kind that is followed now is filled.
func (w *World) Ready(ctx context.Context) error {
	for _, kind := range w.kinds {
		if !kind.followed() {
			continue
		}
		select {
		case <-kind.Synced():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// CatchUp returns once every kind that is followed now shows what the views hold now.
func (w *World) CatchUp(ctx context.Context, views *statelog.Views) error {
	for _, kind := range w.kinds {
		for kind.followed() {
			err := kind.CatchUp(ctx, views)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

func controllerUID(object metav1.Object) []string {
	ref := metav1.GetControllerOfNoCopy(object)
	if ref == nil {
		return nil
	}
	return []string{string(ref.UID)}
}
