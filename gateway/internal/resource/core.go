package resource

import (
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/endpoint"
	"k8s.io/kubernetes/pkg/registry/core/event"
	"k8s.io/kubernetes/pkg/registry/core/limitrange"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolume"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/podtemplate"
	"k8s.io/kubernetes/pkg/registry/core/replicationcontroller"
	"k8s.io/kubernetes/pkg/registry/core/resourcequota"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
)

// eventTTL is upstream's --event-ttl default.
const eventTTL = time.Hour

var (
	coreV1 = schema.GroupVersion{Version: "v1"}
	all    = []string{"all"}
	// updatable are the verbs of a path that shows a part of an object.
	updatable = []string{"get", "patch", "update"}
	// proxied are the verbs of the methods that a proxy passes on.
	proxied   = []string{"create", "delete", "get", "patch", "update"}
	creatable = []string{"create"}
)

func core() []*Kind {
	return []*Kind{
		{
			GVR: coreV1.WithResource("configmaps"), GVK: coreV1.WithKind("ConfigMap"), Singular: "configmap",
			ShortNames: []string{"cm"}, Namespaced: true, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.ConfigMap{} },
			NewList: func() runtime.Object { return &api.ConfigMapList{} },
			Create:  configmap.Strategy, Update: configmap.Strategy, Delete: configmap.Strategy,
			Attrs: configmap.GetAttrs,
		},
		{
			GVR: coreV1.WithResource("endpoints"), GVK: coreV1.WithKind("Endpoints"), Singular: "endpoints",
			ShortNames: []string{"ep"}, Namespaced: true, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.Endpoints{} },
			NewList: func() runtime.Object { return &api.EndpointsList{} },
			Create:  endpoint.Strategy, Update: endpoint.Strategy, Delete: endpoint.Strategy,
		},
		{
			GVR: coreV1.WithResource("events"), GVK: coreV1.WithKind("Event"), Singular: "event",
			ShortNames: []string{"ev"}, Namespaced: true,
			Served:  []schema.GroupVersion{coreV1, {Group: "events.k8s.io", Version: "v1"}},
			New:     func() runtime.Object { return &api.Event{} },
			NewList: func() runtime.Object { return &api.EventList{} },
			Create:  event.Strategy, Update: event.Strategy, Delete: event.Strategy,
			Attrs: event.GetAttrs, TTL: eventTTL,
		},
		{
			GVR: coreV1.WithResource("limitranges"), GVK: coreV1.WithKind("LimitRange"), Singular: "limitrange",
			ShortNames: []string{"limits"}, Namespaced: true, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.LimitRange{} },
			NewList: func() runtime.Object { return &api.LimitRangeList{} },
			Create:  limitrange.Strategy, Update: limitrange.Strategy, Delete: limitrange.Strategy,
		},
		{
			GVR: coreV1.WithResource("namespaces"), GVK: coreV1.WithKind("Namespace"), Singular: "namespace",
			ShortNames: []string{"ns"}, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.Namespace{} },
			NewList: func() runtime.Object { return &api.NamespaceList{} },
			Create:  namespace.Strategy, Update: namespace.Strategy, Delete: namespace.Strategy,
			Attrs: namespace.GetAttrs, ReturnDeleted: true,
			// as upstream: a namespace is deleted one at a time
			Verbs: []string{"create", "delete", "get", "list", "patch", "update", "watch"},
			Subresources: []Subresource{
				{Name: "finalize", Kind: coreV1.WithKind("Namespace"), Verbs: []string{"update"}, Update: namespace.FinalizeStrategy},
				{Name: "status", Kind: coreV1.WithKind("Namespace"), Verbs: updatable, Update: namespace.StatusStrategy},
			},
		},
		{
			GVR: coreV1.WithResource("nodes"), GVK: coreV1.WithKind("Node"), Singular: "node",
			ShortNames: []string{"no"}, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.Node{} },
			NewList: func() runtime.Object { return &api.NodeList{} },
			Create:  node.Strategy, Update: node.Strategy, Delete: node.Strategy,
			Attrs: node.GetAttrs,
			Subresources: []Subresource{
				{Name: "proxy", Kind: coreV1.WithKind("NodeProxyOptions"), Verbs: proxied},
				{Name: "status", Kind: coreV1.WithKind("Node"), Verbs: updatable, Update: node.StatusStrategy},
			},
		},
		{
			GVR: coreV1.WithResource("persistentvolumeclaims"), GVK: coreV1.WithKind("PersistentVolumeClaim"), Singular: "persistentvolumeclaim",
			ShortNames: []string{"pvc"}, Namespaced: true, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.PersistentVolumeClaim{} },
			NewList: func() runtime.Object { return &api.PersistentVolumeClaimList{} },
			Create:  persistentvolumeclaim.Strategy, Update: persistentvolumeclaim.Strategy, Delete: persistentvolumeclaim.Strategy,
			Attrs: persistentvolumeclaim.GetAttrs, ReturnDeleted: true, Unsettled: true,
			Subresources: []Subresource{
				{Name: "status", Kind: coreV1.WithKind("PersistentVolumeClaim"), Verbs: updatable, Update: persistentvolumeclaim.StatusStrategy},
			},
		},
		{
			GVR: coreV1.WithResource("persistentvolumes"), GVK: coreV1.WithKind("PersistentVolume"), Singular: "persistentvolume",
			ShortNames: []string{"pv"}, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.PersistentVolume{} },
			NewList: func() runtime.Object { return &api.PersistentVolumeList{} },
			Create:  persistentvolume.Strategy, Update: persistentvolume.Strategy, Delete: persistentvolume.Strategy,
			Attrs: persistentvolume.GetAttrs, ReturnDeleted: true,
			Subresources: []Subresource{
				{Name: "status", Kind: coreV1.WithKind("PersistentVolume"), Verbs: updatable, Update: persistentvolume.StatusStrategy},
			},
		},
		{
			GVR: coreV1.WithResource("pods"), GVK: coreV1.WithKind("Pod"), Singular: "pod",
			ShortNames: []string{"po"}, Categories: all, Namespaced: true, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.Pod{} },
			NewList: func() runtime.Object { return &api.PodList{} },
			Create:  pod.Strategy, Update: pod.Strategy, Delete: pod.Strategy,
			Attrs: pod.GetAttrs, ReturnDeleted: true,
			Subresources: []Subresource{
				{Name: "attach", Kind: coreV1.WithKind("PodAttachOptions"), Verbs: []string{"create", "get"}},
				{Name: "binding", Kind: coreV1.WithKind("Binding"), Verbs: creatable},
				{Name: "ephemeralcontainers", Kind: coreV1.WithKind("Pod"), Verbs: updatable, Update: pod.EphemeralContainersStrategy},
				{Name: "eviction", Kind: schema.GroupVersionKind{Group: "policy", Version: "v1", Kind: "Eviction"}, Verbs: creatable},
				{Name: "exec", Kind: coreV1.WithKind("PodExecOptions"), Verbs: []string{"create", "get"}},
				{Name: "log", Kind: coreV1.WithKind("Pod"), Verbs: []string{"get"}},
				{Name: "portforward", Kind: coreV1.WithKind("PodPortForwardOptions"), Verbs: []string{"create", "get"}},
				{Name: "proxy", Kind: coreV1.WithKind("PodProxyOptions"), Verbs: proxied},
				{Name: "resize", Kind: coreV1.WithKind("Pod"), Verbs: updatable, Update: pod.ResizeStrategy},
				{Name: "status", Kind: coreV1.WithKind("Pod"), Verbs: updatable, Update: pod.StatusStrategy},
			},
		},
		{
			GVR: coreV1.WithResource("podtemplates"), GVK: coreV1.WithKind("PodTemplate"), Singular: "podtemplate",
			Namespaced: true, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.PodTemplate{} },
			NewList: func() runtime.Object { return &api.PodTemplateList{} },
			Create:  podtemplate.Strategy, Update: podtemplate.Strategy, Delete: podtemplate.Strategy,
			ReturnDeleted: true,
		},
		{
			GVR: coreV1.WithResource("replicationcontrollers"), GVK: coreV1.WithKind("ReplicationController"), Singular: "replicationcontroller",
			ShortNames: []string{"rc"}, Categories: all, Namespaced: true, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.ReplicationController{} },
			NewList: func() runtime.Object { return &api.ReplicationControllerList{} },
			Create:  replicationcontroller.Strategy, Update: replicationcontroller.Strategy, Delete: replicationcontroller.Strategy,
			Attrs: replicationcontroller.GetAttrs,
			Subresources: []Subresource{
				{Name: "scale", Kind: scaleV1, Verbs: updatable, Scale: true},
				{Name: "status", Kind: coreV1.WithKind("ReplicationController"), Verbs: updatable, Update: replicationcontroller.StatusStrategy},
			},
		},
		{
			GVR: coreV1.WithResource("resourcequotas"), GVK: coreV1.WithKind("ResourceQuota"), Singular: "resourcequota",
			ShortNames: []string{"quota"}, Namespaced: true, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.ResourceQuota{} },
			NewList: func() runtime.Object { return &api.ResourceQuotaList{} },
			Create:  resourcequota.Strategy, Update: resourcequota.Strategy, Delete: resourcequota.Strategy,
			ReturnDeleted: true,
			Subresources: []Subresource{
				{Name: "status", Kind: coreV1.WithKind("ResourceQuota"), Verbs: updatable, Update: resourcequota.StatusStrategy},
			},
		},
		{
			GVR: coreV1.WithResource("secrets"), GVK: coreV1.WithKind("Secret"), Singular: "secret",
			Namespaced: true, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.Secret{} },
			NewList: func() runtime.Object { return &api.SecretList{} },
			Create:  secret.Strategy, Update: secret.Strategy, Delete: secret.Strategy,
			Attrs: secret.GetAttrs, Sealed: true,
		},
		{
			GVR: coreV1.WithResource("serviceaccounts"), GVK: coreV1.WithKind("ServiceAccount"), Singular: "serviceaccount",
			ShortNames: []string{"sa"}, Namespaced: true, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.ServiceAccount{} },
			NewList: func() runtime.Object { return &api.ServiceAccountList{} },
			Create:  serviceaccount.Strategy, Update: serviceaccount.Strategy, Delete: serviceaccount.Strategy,
			ReturnDeleted: true,
			Subresources: []Subresource{
				{Name: "token", Kind: schema.GroupVersionKind{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"}, Verbs: creatable},
			},
		},
		{
			GVR: coreV1.WithResource("services"), GVK: coreV1.WithKind("Service"), Singular: "service",
			ShortNames: []string{"svc"}, Categories: all, Namespaced: true, Served: []schema.GroupVersion{coreV1},
			New:     func() runtime.Object { return &api.Service{} },
			NewList: func() runtime.Object { return &api.ServiceList{} },
			Create:  service.Strategy, Update: service.Strategy, Delete: service.Strategy,
			Attrs: service.GetAttrs, ReturnDeleted: true,
			Subresources: []Subresource{
				{Name: "proxy", Kind: coreV1.WithKind("ServiceProxyOptions"), Verbs: proxied},
				{Name: "status", Kind: coreV1.WithKind("Service"), Verbs: updatable, Update: service.StatusStrategy},
			},
		},
	}
}
