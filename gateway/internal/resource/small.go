package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	coordinationapi "k8s.io/kubernetes/pkg/apis/coordination"
	discoveryapi "k8s.io/kubernetes/pkg/apis/discovery"
	schedulingapi "k8s.io/kubernetes/pkg/apis/scheduling"
	"k8s.io/kubernetes/pkg/registry/coordination/lease"
	"k8s.io/kubernetes/pkg/registry/discovery/endpointslice"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
)

// Groups with one kind each.

var (
	coordinationV1 = schema.GroupVersion{Group: "coordination.k8s.io", Version: "v1"}
	discoveryV1    = schema.GroupVersion{Group: "discovery.k8s.io", Version: "v1"}
	schedulingV1   = schema.GroupVersion{Group: "scheduling.k8s.io", Version: "v1"}
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

func scheduling() []*Kind {
	return []*Kind{{
		GVR: schedulingV1.WithResource("priorityclasses"), GVK: schedulingV1.WithKind("PriorityClass"), Singular: "priorityclass",
		ShortNames: []string{"pc"}, Served: []schema.GroupVersion{schedulingV1},
		New:     func() runtime.Object { return &schedulingapi.PriorityClass{} },
		NewList: func() runtime.Object { return &schedulingapi.PriorityClassList{} },
		Create:  priorityclass.Strategy, Update: priorityclass.Strategy, Delete: priorityclass.Strategy,
	}}
}
