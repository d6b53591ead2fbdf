package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	api "k8s.io/kubernetes/pkg/apis/resource"
	"k8s.io/kubernetes/pkg/registry/resource/deviceclass"
	"k8s.io/kubernetes/pkg/registry/resource/devicetaintrule"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaim"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaimtemplate"
	"k8s.io/kubernetes/pkg/registry/resource/resourceslice"
)

var resourceV1 = schema.GroupVersion{Group: "resource.k8s.io", Version: "v1"}

// dynamicResources are the kinds of devices that pods claim.
func dynamicResources() []*Kind {
	claims, templates := resourceclaim.NewStrategy(nil, nil), resourceclaimtemplate.NewStrategy(nil)
	return []*Kind{
		{
			GVR: resourceV1.WithResource("deviceclasses"), GVK: resourceV1.WithKind("DeviceClass"), Singular: "deviceclass",
			Served:  []schema.GroupVersion{resourceV1},
			New:     func() runtime.Object { return &api.DeviceClass{} },
			NewList: func() runtime.Object { return &api.DeviceClassList{} },
			Create:  deviceclass.Strategy, Update: deviceclass.Strategy, Delete: deviceclass.Strategy,
			ReturnDeleted: true,
		},
		{
			GVR: resourceV1.WithResource("devicetaintrules"), GVK: resourceV1.WithKind("DeviceTaintRule"), Singular: "devicetaintrule",
			Served:  []schema.GroupVersion{resourceV1},
			New:     func() runtime.Object { return &api.DeviceTaintRule{} },
			NewList: func() runtime.Object { return &api.DeviceTaintRuleList{} },
			Create:  devicetaintrule.Strategy, Update: devicetaintrule.Strategy, Delete: devicetaintrule.Strategy,
			Subresources: []Subresource{
				{Name: "status", Kind: resourceV1.WithKind("DeviceTaintRule"), Verbs: updatable, Update: devicetaintrule.StatusStrategy, Untabled: true},
			},
		},
		{
			GVR: resourceV1.WithResource("resourceclaims"), GVK: resourceV1.WithKind("ResourceClaim"), Singular: "resourceclaim",
			Namespaced: true, Served: []schema.GroupVersion{resourceV1},
			New:     func() runtime.Object { return &api.ResourceClaim{} },
			NewList: func() runtime.Object { return &api.ResourceClaimList{} },
			Create:  claims, Update: claims, Delete: claims,
			Attrs: resourceclaim.GetAttrs, ReturnDeleted: true, Bind: func(o Others) Strategies {
				bound := resourceclaim.NewStrategy(o.Namespaces, o.Authorizer)
				return Strategies{Create: bound, Update: bound, Parts: map[string]rest.RESTUpdateStrategy{"status": resourceclaim.NewStatusStrategy(bound)}}
			},
			Subresources: []Subresource{
				{Name: "status", Kind: resourceV1.WithKind("ResourceClaim"), Verbs: updatable, Update: resourceclaim.NewStatusStrategy(claims), Untabled: true},
			},
		},
		{
			GVR: resourceV1.WithResource("resourceclaimtemplates"), GVK: resourceV1.WithKind("ResourceClaimTemplate"), Singular: "resourceclaimtemplate",
			Namespaced: true, Served: []schema.GroupVersion{resourceV1},
			New:     func() runtime.Object { return &api.ResourceClaimTemplate{} },
			NewList: func() runtime.Object { return &api.ResourceClaimTemplateList{} },
			Create:  templates, Update: templates, Delete: templates,
			Attrs: resourceclaimtemplate.GetAttrs, ReturnDeleted: true, Bind: func(o Others) Strategies {
				bound := resourceclaimtemplate.NewStrategy(o.Namespaces)
				return Strategies{Create: bound, Update: bound}
			},
		},
		{
			GVR: resourceV1.WithResource("resourceslices"), GVK: resourceV1.WithKind("ResourceSlice"), Singular: "resourceslice",
			Served:  []schema.GroupVersion{resourceV1},
			New:     func() runtime.Object { return &api.ResourceSlice{} },
			NewList: func() runtime.Object { return &api.ResourceSliceList{} },
			Create:  resourceslice.Strategy, Update: resourceslice.Strategy, Delete: resourceslice.Strategy,
			Attrs: resourceslice.GetAttrs, ReturnDeleted: true,
		},
	}
}
