package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	coordinationapi "k8s.io/kubernetes/pkg/apis/coordination"
	discoveryapi "k8s.io/kubernetes/pkg/apis/discovery"
	nodeapi "k8s.io/kubernetes/pkg/apis/node"
	policyapi "k8s.io/kubernetes/pkg/apis/policy"
	schedulingapi "k8s.io/kubernetes/pkg/apis/scheduling"
	migrationapi "k8s.io/kubernetes/pkg/apis/storagemigration"
	"k8s.io/kubernetes/pkg/registry/coordination/lease"
	"k8s.io/kubernetes/pkg/registry/discovery/endpointslice"
	"k8s.io/kubernetes/pkg/registry/node/runtimeclass"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	"k8s.io/kubernetes/pkg/registry/storagemigration/storagemigration"
)

// Groups with one kind each.

var (
	coordinationV1 = schema.GroupVersion{Group: "coordination.k8s.io", Version: "v1"}
	discoveryV1    = schema.GroupVersion{Group: "discovery.k8s.io", Version: "v1"}
	nodeV1         = schema.GroupVersion{Group: "node.k8s.io", Version: "v1"}
	policyV1       = schema.GroupVersion{Group: "policy", Version: "v1"}
	schedulingV1   = schema.GroupVersion{Group: "scheduling.k8s.io", Version: "v1"}
	migrationV1    = schema.GroupVersion{Group: "storagemigration.k8s.io", Version: "v1"}
)

func coordination() []*Kind {
	return []*Kind{{
		GVR: coordinationV1.WithResource("leases"), GVK: coordinationV1.WithKind("Lease"), Singular: "lease",
		Namespaced: true, Served: []schema.GroupVersion{coordinationV1},
		New:     func() runtime.Object { return &coordinationapi.Lease{} },
		NewList: func() runtime.Object { return &coordinationapi.LeaseList{} },
		Create:  lease.Strategy, Update: lease.Strategy, Delete: lease.Strategy,
	}}
}

func discovery() []*Kind {
	return []*Kind{{
		GVR: discoveryV1.WithResource("endpointslices"), GVK: discoveryV1.WithKind("EndpointSlice"), Singular: "endpointslice",
		Namespaced: true, Served: []schema.GroupVersion{discoveryV1},
		New:     func() runtime.Object { return &discoveryapi.EndpointSlice{} },
		NewList: func() runtime.Object { return &discoveryapi.EndpointSliceList{} },
		Create:  endpointslice.Strategy, Update: endpointslice.Strategy, Delete: endpointslice.Strategy,
	}}
}

func nodeKinds() []*Kind {
	return []*Kind{{
		GVR: nodeV1.WithResource("runtimeclasses"), GVK: nodeV1.WithKind("RuntimeClass"), Singular: "runtimeclass",
		Served:  []schema.GroupVersion{nodeV1},
		New:     func() runtime.Object { return &nodeapi.RuntimeClass{} },
		NewList: func() runtime.Object { return &nodeapi.RuntimeClassList{} },
		Create:  runtimeclass.Strategy, Update: runtimeclass.Strategy, Delete: runtimeclass.Strategy,
	}}
}

func policy() []*Kind {
	return []*Kind{{
		GVR: policyV1.WithResource("poddisruptionbudgets"), GVK: policyV1.WithKind("PodDisruptionBudget"), Singular: "poddisruptionbudget",
		ShortNames: []string{"pdb"}, Namespaced: true, Served: []schema.GroupVersion{policyV1},
		New:     func() runtime.Object { return &policyapi.PodDisruptionBudget{} },
		NewList: func() runtime.Object { return &policyapi.PodDisruptionBudgetList{} },
		Create:  poddisruptionbudget.Strategy, Update: poddisruptionbudget.Strategy, Delete: poddisruptionbudget.Strategy,
		Subresources: []Subresource{
			{Name: "status", Kind: policyV1.WithKind("PodDisruptionBudget"), Verbs: updatable, Update: poddisruptionbudget.StatusStrategy},
		},
	}}
}

func scheduling() []*Kind {
	return []*Kind{{
		GVR: schedulingV1.WithResource("priorityclasses"), GVK: schedulingV1.WithKind("PriorityClass"), Singular: "priorityclass",
		ShortNames: []string{"pc"}, Served: []schema.GroupVersion{schedulingV1},
		New:     func() runtime.Object { return &schedulingapi.PriorityClass{} },
		NewList: func() runtime.Object { return &schedulingapi.PriorityClassList{} },
		Create:  priorityclass.Strategy, Update: priorityclass.Strategy, Delete: priorityclass.Strategy,
	}}
}

func migration() []*Kind {
	return []*Kind{{
		GVR: migrationV1.WithResource("storageversionmigrations"), GVK: migrationV1.WithKind("StorageVersionMigration"), Singular: "storageversionmigration",
		Served:  []schema.GroupVersion{migrationV1},
		New:     func() runtime.Object { return &migrationapi.StorageVersionMigration{} },
		NewList: func() runtime.Object { return &migrationapi.StorageVersionMigrationList{} },
		Create:  storagemigration.Strategy, Update: storagemigration.Strategy, Delete: storagemigration.Strategy,
		Subresources: []Subresource{
			{Name: "status", Kind: migrationV1.WithKind("StorageVersionMigration"), Verbs: updatable, Update: storagemigration.StatusStrategy},
		},
	}}
}
