package resource

import (
	"slices"

	"k8s.io/apiserver/pkg/authorization/authorizer"
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
	// Resolver finds the resource of a kind that an admission policy takes its parameters from.
	Resolver resolver.ResourceResolver
	Policies Policies
}

// Policies finds the policy that a binding names.
type Policies interface {
	validatingbinding.PolicyGetter
	mutatingbinding.PolicyGetter
}

// Bound is the row with strategies that ask o; the row itself where its
// strategies ask nobody. An unbound row that has a Bind must not validate
// anything: what it should ask is not there.
func (k *Kind) Bound(o Others) *Kind {
	if k.Bind == nil {
		return k
	}
	bound := *k
	bound.Subresources = slices.Clone(k.Subresources)
	k.Bind(&bound, o)
	return &bound
}
