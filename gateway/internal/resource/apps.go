package resource

import (
	apps1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	api "k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/registry/apps/controllerrevision"
	"k8s.io/kubernetes/pkg/registry/apps/daemonset"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"
)

var (
	appsV1  = schema.GroupVersion{Group: "apps", Version: "v1"}
	scaleV1 = schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}
)

func apps() []*Kind {
	return []*Kind{
		{
			GVR: appsV1.WithResource("controllerrevisions"), GVK: appsV1.WithKind("ControllerRevision"), Singular: "controllerrevision",
			Namespaced: true, Served: []schema.GroupVersion{appsV1},
			New:     func() runtime.Object { return &api.ControllerRevision{} },
			NewList: func() runtime.Object { return &api.ControllerRevisionList{} },
			Create:  controllerrevision.Strategy, Update: controllerrevision.Strategy, Delete: controllerrevision.Strategy,
		},
		{
			GVR: appsV1.WithResource("daemonsets"), GVK: appsV1.WithKind("DaemonSet"), Singular: "daemonset",
			ShortNames: []string{"ds"}, Categories: all, Namespaced: true, Served: []schema.GroupVersion{appsV1},
			New:     func() runtime.Object { return &api.DaemonSet{} },
			NewList: func() runtime.Object { return &api.DaemonSetList{} },
			Create:  daemonset.Strategy, Update: daemonset.Strategy, Delete: daemonset.Strategy,
			Folded: []string{apps1.DeprecatedTemplateGeneration},
			Subresources: []Subresource{
				{Name: "status", Kind: appsV1.WithKind("DaemonSet"), Verbs: updatable, Update: daemonset.StatusStrategy},
			},
		},
		{
			GVR: appsV1.WithResource("deployments"), GVK: appsV1.WithKind("Deployment"), Singular: "deployment",
			ShortNames: []string{"deploy"}, Categories: all, Namespaced: true, Served: []schema.GroupVersion{appsV1},
			New:     func() runtime.Object { return &api.Deployment{} },
			NewList: func() runtime.Object { return &api.DeploymentList{} },
			Create:  deployment.Strategy, Update: deployment.Strategy, Delete: deployment.Strategy,
			Folded: []string{apps1.DeprecatedRollbackTo},
			Subresources: []Subresource{
				{Name: "scale", Kind: scaleV1, Verbs: updatable, Scale: true},
				{Name: "status", Kind: appsV1.WithKind("Deployment"), Verbs: updatable, Update: deployment.StatusStrategy},
			},
		},
		{
			GVR: appsV1.WithResource("replicasets"), GVK: appsV1.WithKind("ReplicaSet"), Singular: "replicaset",
			ShortNames: []string{"rs"}, Categories: all, Namespaced: true, Served: []schema.GroupVersion{appsV1},
			New:     func() runtime.Object { return &api.ReplicaSet{} },
			NewList: func() runtime.Object { return &api.ReplicaSetList{} },
			Create:  replicaset.Strategy, Update: replicaset.Strategy, Delete: replicaset.Strategy,
			Attrs: replicaset.GetAttrs,
			Subresources: []Subresource{
				{Name: "scale", Kind: scaleV1, Verbs: updatable, Scale: true},
				{Name: "status", Kind: appsV1.WithKind("ReplicaSet"), Verbs: updatable, Update: replicaset.StatusStrategy},
			},
		},
		{
			GVR: appsV1.WithResource("statefulsets"), GVK: appsV1.WithKind("StatefulSet"), Singular: "statefulset",
			ShortNames: []string{"sts"}, Categories: all, Namespaced: true, Served: []schema.GroupVersion{appsV1},
			New:     func() runtime.Object { return &api.StatefulSet{} },
			NewList: func() runtime.Object { return &api.StatefulSetList{} },
			Create:  statefulset.Strategy, Update: statefulset.Strategy, Delete: statefulset.Strategy,
			Subresources: []Subresource{
				{Name: "scale", Kind: scaleV1, Verbs: updatable, Scale: true},
				{Name: "status", Kind: appsV1.WithKind("StatefulSet"), Verbs: updatable, Update: statefulset.StatusStrategy},
			},
		},
	}
}
