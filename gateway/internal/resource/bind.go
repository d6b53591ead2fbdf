package resource

import (
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	mutatingbinding "k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/resolver"
	validatingbinding "k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicybinding"
)

// Others are whom some strategies ask before they let an object pass.
type Others struct {
	Authorizer authorizer.UnconditionalAuthorizer
	// Namespaces is asked for one namespace at a time: only its Get is called.
	Namespaces corev1.NamespaceInterface
	// Resolver finds the resource of a kind that an admission policy takes its
	// parameters from.
	Resolver resolver.ResourceResolver
	// Policies finds the admission policy that a binding names.
	Policies Policies
}

// Policies is what strategies of bindings ask for; see Others.
type Policies interface {
	validatingbinding.PolicyGetter
	mutatingbinding.PolicyGetter
}

// Strategies are those of a kind that decide what is written: of its main resource
// and, by name, of its subresources that have one of their own.
type Strategies struct {
	Create rest.RESTCreateStrategy
	Update rest.RESTUpdateStrategy
	Parts  map[string]rest.RESTUpdateStrategy
}

// Strategies gives those that may validate. Deletion asks nobody: its strategy is
// the row's.
func (k *Kind) Strategies(o Others) Strategies {
	var s Strategies
	if k.Bind != nil {
		s = k.Bind(o)
	} else {
		s = Strategies{Create: k.Create, Update: k.Update}
	}
	parts := make(map[string]rest.RESTUpdateStrategy, len(k.Subresources))
	for i := range k.Subresources {
		sub := &k.Subresources[i]
		if bound := s.Parts[sub.Name]; bound != nil {
			parts[sub.Name] = bound
		} else if sub.Update != nil {
			parts[sub.Name] = sub.Update
		}
	}
	s.Parts = parts
	return s
}
