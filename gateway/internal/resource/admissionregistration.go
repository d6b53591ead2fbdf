package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	api "k8s.io/kubernetes/pkg/apis/admissionregistration"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicy"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicy"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingwebhookconfiguration"
)

var (
	admissionV1   = schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1"}
	apiExtensions = []string{"api-extensions"}
)

func admissionRegistration() []*Kind {
	mutating, mutatingBinding := mutatingadmissionpolicy.NewStrategy(nil, nil), mutatingadmissionpolicybinding.NewStrategy(nil, nil, nil)
	validating, validatingBinding := validatingadmissionpolicy.NewStrategy(nil, nil), validatingadmissionpolicybinding.NewStrategy(nil, nil, nil)
	return []*Kind{
		{
			GVR: admissionV1.WithResource("mutatingadmissionpolicies"), GVK: admissionV1.WithKind("MutatingAdmissionPolicy"), Singular: "mutatingadmissionpolicy",
			Categories: apiExtensions, Served: []schema.GroupVersion{admissionV1},
			New:     func() runtime.Object { return &api.MutatingAdmissionPolicy{} },
			NewList: func() runtime.Object { return &api.MutatingAdmissionPolicyList{} },
			Create:  mutating, Update: mutating, Delete: mutating,
			Bind: func(o Others) Strategies {
				bound := mutatingadmissionpolicy.NewStrategy(o.Authorizer, o.Resolver)
				return Strategies{Create: bound, Update: bound}
			},
		},
		{
			GVR: admissionV1.WithResource("mutatingadmissionpolicybindings"), GVK: admissionV1.WithKind("MutatingAdmissionPolicyBinding"), Singular: "mutatingadmissionpolicybinding",
			Categories: apiExtensions, Served: []schema.GroupVersion{admissionV1},
			New:     func() runtime.Object { return &api.MutatingAdmissionPolicyBinding{} },
			NewList: func() runtime.Object { return &api.MutatingAdmissionPolicyBindingList{} },
			Create:  mutatingBinding, Update: mutatingBinding, Delete: mutatingBinding,
			Bind: func(o Others) Strategies {
				bound := mutatingadmissionpolicybinding.NewStrategy(o.Authorizer, o.Policies, o.Resolver)
				return Strategies{Create: bound, Update: bound}
			},
		},
		{
			GVR: admissionV1.WithResource("mutatingwebhookconfigurations"), GVK: admissionV1.WithKind("MutatingWebhookConfiguration"), Singular: "mutatingwebhookconfiguration",
			Categories: apiExtensions, Served: []schema.GroupVersion{admissionV1},
			New:     func() runtime.Object { return &api.MutatingWebhookConfiguration{} },
			NewList: func() runtime.Object { return &api.MutatingWebhookConfigurationList{} },
			Create:  mutatingwebhookconfiguration.Strategy, Update: mutatingwebhookconfiguration.Strategy, Delete: mutatingwebhookconfiguration.Strategy,
		},
		{
			GVR: admissionV1.WithResource("validatingadmissionpolicies"), GVK: admissionV1.WithKind("ValidatingAdmissionPolicy"), Singular: "validatingadmissionpolicy",
			Categories: apiExtensions, Served: []schema.GroupVersion{admissionV1},
			New:     func() runtime.Object { return &api.ValidatingAdmissionPolicy{} },
			NewList: func() runtime.Object { return &api.ValidatingAdmissionPolicyList{} },
			Create:  validating, Update: validating, Delete: validating,
			Bind: func(o Others) Strategies {
				bound := validatingadmissionpolicy.NewStrategy(o.Authorizer, o.Resolver)
				return Strategies{Create: bound, Update: bound, Parts: map[string]rest.RESTUpdateStrategy{"status": validatingadmissionpolicy.NewStatusStrategy(bound)}}
			},
			Subresources: []Subresource{
				{Name: "status", Kind: admissionV1.WithKind("ValidatingAdmissionPolicy"), Verbs: updatable, Update: validatingadmissionpolicy.NewStatusStrategy(validating)},
			},
		},
		{
			GVR: admissionV1.WithResource("validatingadmissionpolicybindings"), GVK: admissionV1.WithKind("ValidatingAdmissionPolicyBinding"), Singular: "validatingadmissionpolicybinding",
			Categories: apiExtensions, Served: []schema.GroupVersion{admissionV1},
			New:     func() runtime.Object { return &api.ValidatingAdmissionPolicyBinding{} },
			NewList: func() runtime.Object { return &api.ValidatingAdmissionPolicyBindingList{} },
			Create:  validatingBinding, Update: validatingBinding, Delete: validatingBinding,
			Bind: func(o Others) Strategies {
				bound := validatingadmissionpolicybinding.NewStrategy(o.Authorizer, o.Policies, o.Resolver)
				return Strategies{Create: bound, Update: bound}
			},
		},
		{
			GVR: admissionV1.WithResource("validatingwebhookconfigurations"), GVK: admissionV1.WithKind("ValidatingWebhookConfiguration"), Singular: "validatingwebhookconfiguration",
			Categories: apiExtensions, Served: []schema.GroupVersion{admissionV1},
			New:     func() runtime.Object { return &api.ValidatingWebhookConfiguration{} },
			NewList: func() runtime.Object { return &api.ValidatingWebhookConfigurationList{} },
			Create:  validatingwebhookconfiguration.Strategy, Update: validatingwebhookconfiguration.Strategy, Delete: validatingwebhookconfiguration.Strategy,
		},
	}
}
