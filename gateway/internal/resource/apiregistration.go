package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	api "k8s.io/kube-aggregator/pkg/apis/apiregistration"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/install"
	"k8s.io/kube-aggregator/pkg/registry/apiservice"
	apiserviceetcd "k8s.io/kube-aggregator/pkg/registry/apiservice/etcd"
)

var apiregistrationV1 = schema.GroupVersion{Group: "apiregistration.k8s.io", Version: "v1"}

func apiregistration() []*Kind {
	install.Install(Scheme)
	strategy := apiservice.NewStrategy(Scheme)
	return []*Kind{{
		GVR: apiregistrationV1.WithResource("apiservices"), GVK: apiregistrationV1.WithKind("APIService"), Singular: "apiservice",
		Categories: []string{"api-extensions"}, Served: []schema.GroupVersion{apiregistrationV1},
		New:     func() runtime.Object { return &api.APIService{} },
		NewList: func() runtime.Object { return &api.APIServiceList{} },
		Create:  strategy, Update: strategy, Delete: strategy, Attrs: apiservice.GetAttrs,
		Tables: &apiserviceetcd.REST{},
		Subresources: []Subresource{
			{Name: "status", Kind: apiregistrationV1.WithKind("APIService"), Verbs: updatable, Update: apiservice.NewStatusStrategy(Scheme), Untabled: true},
		},
	}}
}
