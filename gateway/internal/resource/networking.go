package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	api "k8s.io/kubernetes/pkg/apis/networking"
	"k8s.io/kubernetes/pkg/registry/networking/ingress"
	"k8s.io/kubernetes/pkg/registry/networking/ingressclass"
	"k8s.io/kubernetes/pkg/registry/networking/ipaddress"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/networking/servicecidr"
)

var networkingV1 = schema.GroupVersion{Group: "networking.k8s.io", Version: "v1"}

func networking() []*Kind {
	return []*Kind{
		{
			GVR: networkingV1.WithResource("ingressclasses"), GVK: networkingV1.WithKind("IngressClass"), Singular: "ingressclass",
			Served:  []schema.GroupVersion{networkingV1},
			New:     func() runtime.Object { return &api.IngressClass{} },
			NewList: func() runtime.Object { return &api.IngressClassList{} },
			Create:  ingressclass.Strategy, Update: ingressclass.Strategy, Delete: ingressclass.Strategy,
		},
		{
			GVR: networkingV1.WithResource("ingresses"), GVK: networkingV1.WithKind("Ingress"), Singular: "ingress",
			ShortNames: []string{"ing"}, Namespaced: true, Served: []schema.GroupVersion{networkingV1},
			New:     func() runtime.Object { return &api.Ingress{} },
			NewList: func() runtime.Object { return &api.IngressList{} },
			Create:  ingress.Strategy, Update: ingress.Strategy, Delete: ingress.Strategy,
			Subresources: []Subresource{
				{Name: "status", Kind: networkingV1.WithKind("Ingress"), Verbs: updatable, Update: ingress.StatusStrategy},
			},
		},
		{
			GVR: networkingV1.WithResource("ipaddresses"), GVK: networkingV1.WithKind("IPAddress"), Singular: "ipaddress",
			ShortNames: []string{"ip"}, Served: []schema.GroupVersion{networkingV1},
			New:     func() runtime.Object { return &api.IPAddress{} },
			NewList: func() runtime.Object { return &api.IPAddressList{} },
			Create:  ipaddress.Strategy, Update: ipaddress.Strategy, Delete: ipaddress.Strategy,
		},
		{
			GVR: networkingV1.WithResource("networkpolicies"), GVK: networkingV1.WithKind("NetworkPolicy"), Singular: "networkpolicy",
			ShortNames: []string{"netpol"}, Namespaced: true, Served: []schema.GroupVersion{networkingV1},
			New:     func() runtime.Object { return &api.NetworkPolicy{} },
			NewList: func() runtime.Object { return &api.NetworkPolicyList{} },
			Create:  networkpolicy.Strategy, Update: networkpolicy.Strategy, Delete: networkpolicy.Strategy,
		},
		{
			GVR: networkingV1.WithResource("servicecidrs"), GVK: networkingV1.WithKind("ServiceCIDR"), Singular: "servicecidr",
			Served:  []schema.GroupVersion{networkingV1},
			New:     func() runtime.Object { return &api.ServiceCIDR{} },
			NewList: func() runtime.Object { return &api.ServiceCIDRList{} },
			Create:  servicecidr.Strategy, Update: servicecidr.Strategy, Delete: servicecidr.Strategy,
			Subresources: []Subresource{
				{Name: "status", Kind: networkingV1.WithKind("ServiceCIDR"), Verbs: updatable, Update: servicecidr.StatusStrategy},
			},
		},
	}
}
