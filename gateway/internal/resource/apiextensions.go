package resource

import (
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsinstall "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition"
	crdtable "k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition/tableconvertor"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var apiextensionsV1 = schema.GroupVersion{Group: apiextensions.GroupName, Version: "v1"}

// extensions is the kind of which package custom makes others.
func extensions() []*Kind {
	// The group's install does not add itself to a scheme, as those of others do.
	apiextensionsinstall.Install(Scheme)
	strategy, status := customresourcedefinition.NewStrategy(Scheme), customresourcedefinition.NewStatusStrategy(Scheme)
	gvk := apiextensionsV1.WithKind("CustomResourceDefinition")
	return []*Kind{{
		GVR: apiextensionsV1.WithResource("customresourcedefinitions"), GVK: gvk, Singular: "customresourcedefinition",
		ShortNames: []string{"crd", "crds"}, Categories: []string{"api-extensions"}, Served: []schema.GroupVersion{apiextensionsV1},
		New:     func() runtime.Object { return &apiextensions.CustomResourceDefinition{} },
		NewList: func() runtime.Object { return &apiextensions.CustomResourceDefinitionList{} },
		Tables:  crdtable.New(),
		Create:  strategy, Update: strategy, Delete: strategy,
		Subresources: []Subresource{{Name: "status", Kind: gvk, Verbs: []string{"get", "patch", "update"}, Update: status, Untabled: true}},
	}}
}
