package resource

import (
	"cmp"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	api "k8s.io/kubernetes/pkg/apis/flowcontrol"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/flowschema"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/prioritylevelconfiguration"
)

var flowControlV1 = schema.GroupVersion{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}

func flowControl() []*Kind {
	return []*Kind{
		{
			GVR: flowControlV1.WithResource("flowschemas"), GVK: flowControlV1.WithKind("FlowSchema"), Singular: "flowschema",
			Served:  []schema.GroupVersion{flowControlV1},
			New:     func() runtime.Object { return &api.FlowSchema{} },
			NewList: func() runtime.Object { return &api.FlowSchemaList{} },
			Create:  flowschema.Strategy, Update: flowschema.Strategy, Delete: flowschema.Strategy,
			TableOrder: byPrecedence,
			Subresources: []Subresource{
				{Name: "status", Kind: flowControlV1.WithKind("FlowSchema"), Verbs: updatable, Update: flowschema.StatusStrategy},
			},
		},
		{
			GVR: flowControlV1.WithResource("prioritylevelconfigurations"), GVK: flowControlV1.WithKind("PriorityLevelConfiguration"), Singular: "prioritylevelconfiguration",
			Served:  []schema.GroupVersion{flowControlV1},
			New:     func() runtime.Object { return &api.PriorityLevelConfiguration{} },
			NewList: func() runtime.Object { return &api.PriorityLevelConfigurationList{} },
			Create:  prioritylevelconfiguration.Strategy, Update: prioritylevelconfiguration.Strategy, Delete: prioritylevelconfiguration.Strategy,
			Subresources: []Subresource{
				{Name: "status", Kind: flowControlV1.WithKind("PriorityLevelConfiguration"), Verbs: updatable, Update: prioritylevelconfiguration.StatusStrategy},
			},
		},
	}
}

// byPrecedence is the order in which FlowSchemas are asked, and in which upstream's
// printer lists them.
func byPrecedence(a, b runtime.Object) int {
	x, y := a.(*api.FlowSchema), b.(*api.FlowSchema)
	return cmp.Or(cmp.Compare(x.Spec.MatchingPrecedence, y.Spec.MatchingPrecedence), cmp.Compare(x.Name, y.Name))
}
