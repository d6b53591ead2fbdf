package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	api "k8s.io/kubernetes/pkg/apis/rbac"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	"k8s.io/kubernetes/pkg/registry/rbac/role"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
)

var rbacV1 = schema.GroupVersion{Group: "rbac.authorization.k8s.io", Version: "v1"}

func rbac() []*Kind {
	return []*Kind{
		{
			GVR: rbacV1.WithResource("clusterrolebindings"), GVK: rbacV1.WithKind("ClusterRoleBinding"), Singular: "clusterrolebinding",
			Served:  []schema.GroupVersion{rbacV1},
			New:     func() runtime.Object { return &api.ClusterRoleBinding{} },
			NewList: func() runtime.Object { return &api.ClusterRoleBindingList{} },
			Create:  clusterrolebinding.Strategy, Update: clusterrolebinding.Strategy, Delete: clusterrolebinding.Strategy,
		},
		{
			GVR: rbacV1.WithResource("clusterroles"), GVK: rbacV1.WithKind("ClusterRole"), Singular: "clusterrole",
			Served:  []schema.GroupVersion{rbacV1},
			New:     func() runtime.Object { return &api.ClusterRole{} },
			NewList: func() runtime.Object { return &api.ClusterRoleList{} },
			Create:  clusterrole.Strategy, Update: clusterrole.Strategy, Delete: clusterrole.Strategy,
		},
		{
			GVR: rbacV1.WithResource("rolebindings"), GVK: rbacV1.WithKind("RoleBinding"), Singular: "rolebinding",
			Namespaced: true, Served: []schema.GroupVersion{rbacV1},
			New:     func() runtime.Object { return &api.RoleBinding{} },
			NewList: func() runtime.Object { return &api.RoleBindingList{} },
			Create:  rolebinding.Strategy, Update: rolebinding.Strategy, Delete: rolebinding.Strategy,
		},
		{
			GVR: rbacV1.WithResource("roles"), GVK: rbacV1.WithKind("Role"), Singular: "role",
			Namespaced: true, Served: []schema.GroupVersion{rbacV1},
			New:     func() runtime.Object { return &api.Role{} },
			NewList: func() runtime.Object { return &api.RoleList{} },
			Create:  role.Strategy, Update: role.Strategy, Delete: role.Strategy,
		},
	}
}
