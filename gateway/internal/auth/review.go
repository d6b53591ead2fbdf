package auth

import (
	"net/http"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/registry/authentication/selfsubjectreview"
	"k8s.io/kubernetes/pkg/registry/authentication/tokenreview"
	"k8s.io/kubernetes/pkg/registry/authorization/localsubjectaccessreview"
	"k8s.io/kubernetes/pkg/registry/authorization/selfsubjectaccessreview"
	"k8s.io/kubernetes/pkg/registry/authorization/selfsubjectrulesreview"
	"k8s.io/kubernetes/pkg/registry/authorization/subjectaccessreview"

	"kubus.dev/gateway/internal/resource"
)

// Reviews are upstream's review kinds over the very same authenticator and
// authorizer that requests pass.
func Reviews(a *Authorizer, tokens authenticator.Request, audiences []string) map[schema.GroupResource]rest.Creater {
	authn := func(r string) schema.GroupResource {
		return schema.GroupResource{Group: "authentication.k8s.io", Resource: r}
	}
	authz := func(r string) schema.GroupResource {
		return schema.GroupResource{Group: "authorization.k8s.io", Resource: r}
	}
	return map[schema.GroupResource]rest.Creater{
		authn("tokenreviews"):              tokenreview.NewREST(tokens, audiences),
		authn("selfsubjectreviews"):        selfsubjectreview.NewREST(),
		authz("subjectaccessreviews"):      subjectaccessreview.NewREST(a, resource.Scheme),
		authz("localsubjectaccessreviews"): localsubjectaccessreview.NewREST(a, resource.Scheme),
		authz("selfsubjectaccessreviews"):  selfsubjectaccessreview.NewREST(a, resource.Scheme),
		authz("selfsubjectrulesreviews"):   selfsubjectrulesreview.NewREST(a),
	}
}

// Impersonate lets those who may act as the user that the Impersonate headers name,
// in upstream's constrained form: verbs such as impersonate:user-info and
// impersonate-on:user-info:get grant less than impersonate does.
func Impersonate(a *Authorizer) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return impersonation.WithConstrainedImpersonation(next, a, resource.Codecs)
	}
}
