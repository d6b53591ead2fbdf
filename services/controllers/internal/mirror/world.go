//lint:file-ignore SA1019 Endpoints are deprecated, and kept for those who still read them.

package mirror

import (
	"context"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// The collections the controllers work on.
var (
	PodResource            = proto.GroupResource{Resource: "pods"}
	NodeResource           = proto.GroupResource{Resource: "nodes"}
	ServiceResource        = proto.GroupResource{Resource: "services"}
	EndpointsResource      = proto.GroupResource{Resource: "endpoints"}
	NamespaceResource      = proto.GroupResource{Resource: "namespaces"}
	ServiceAccountResource = proto.GroupResource{Resource: "serviceaccounts"}
	ConfigMapResource      = proto.GroupResource{Resource: "configmaps"}
	EndpointSliceResource  = proto.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
	ReplicaSetResource     = proto.GroupResource{Group: "apps", Resource: "replicasets"}
	DeploymentResource     = proto.GroupResource{Group: "apps", Resource: "deployments"}
	LeaseResource          = proto.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
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

// World is every kind the controllers share.
type World struct {
	Pods           *Kind[corev1.Pod]
	Nodes          *Kind[corev1.Node]
	Services       *Kind[corev1.Service]
	Endpoints      *Kind[corev1.Endpoints]
	EndpointSlices *Kind[discoveryv1.EndpointSlice]
	Namespaces     *Kind[corev1.Namespace]
	ReplicaSets    *Kind[appsv1.ReplicaSet]
	Deployments    *Kind[appsv1.Deployment]
}

// NewWorld returns empty mirrors with their indexes.
func NewWorld() *World {
	w := &World{
		Pods:           New[corev1.Pod](PodResource),
		Nodes:          New[corev1.Node](NodeResource),
		Services:       New[corev1.Service](ServiceResource),
		Endpoints:      New[corev1.Endpoints](EndpointsResource),
		EndpointSlices: New[discoveryv1.EndpointSlice](EndpointSliceResource),
		Namespaces:     New[corev1.Namespace](NamespaceResource),
		ReplicaSets:    New[appsv1.ReplicaSet](ReplicaSetResource),
		Deployments:    New[appsv1.Deployment](DeploymentResource),
	}
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
	w.EndpointSlices.Index(ByService, func(slice *discoveryv1.EndpointSlice) []string {
		service := slice.Labels[discoveryv1.LabelServiceName]
		if service == "" {
			return nil
		}
		return []string{slice.Namespace + "/" + service}
	})
	return w
}

// Run follows the views until ctx ends.
func (w *World) Run(ctx context.Context, views *statelog.Views) error {
	group, ctx := errgroup.WithContext(ctx)
	follow(ctx, group, views, w.Pods)
	follow(ctx, group, views, w.Nodes)
	follow(ctx, group, views, w.Services)
	follow(ctx, group, views, w.Endpoints)
	follow(ctx, group, views, w.EndpointSlices)
	follow(ctx, group, views, w.Namespaces)
	follow(ctx, group, views, w.ReplicaSets)
	follow(ctx, group, views, w.Deployments)
	return group.Wait()
}

func follow[T any](ctx context.Context, group *errgroup.Group, views *statelog.Views, kind *Kind[T]) {
	group.Go(func() error { return kind.Run(ctx, views.For(kind.gr)) })
}

// Ready returns once every mirror is filled.
func (w *World) Ready(ctx context.Context) error {
	for _, synced := range []<-chan struct{}{
		w.Pods.Synced(), w.Nodes.Synced(), w.Services.Synced(), w.Endpoints.Synced(), w.EndpointSlices.Synced(),
		w.Namespaces.Synced(), w.ReplicaSets.Synced(), w.Deployments.Synced(),
	} {
		select {
		case <-synced:
		case <-ctx.Done():
			return ctx.Err()
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
