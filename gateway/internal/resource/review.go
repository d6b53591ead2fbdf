package resource

import "k8s.io/apimachinery/pkg/runtime/schema"

// Review is a kind that is only asked: it answers and nothing is kept.
type Review struct {
	GVR        schema.GroupVersionResource
	GVK        schema.GroupVersionKind
	Singular   string
	ShortNames []string
	Namespaced bool
	Verbs      []string // sorted
}

// Reviews lists the kinds that are only asked: the reviews, bindings and
// componentstatuses.
func Reviews() []Review {
	row := func(group, resource, kind, singular string, namespaced bool) Review {
		gv := schema.GroupVersion{Group: group, Version: "v1"}
		return Review{GVR: gv.WithResource(resource), GVK: gv.WithKind(kind), Singular: singular, Namespaced: namespaced, Verbs: creatable}
	}
	components := row("", "componentstatuses", "ComponentStatus", "componentstatus", false)
	components.ShortNames, components.Verbs = []string{"cs"}, []string{"get", "list"}
	return []Review{
		row("", "bindings", "Binding", "binding", true),
		components,
		row("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview", "selfsubjectreview", false),
		row("authentication.k8s.io", "tokenreviews", "TokenReview", "tokenreview", false),
		row("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview", "localsubjectaccessreview", true),
		row("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", "selfsubjectaccessreview", false),
		row("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview", "selfsubjectrulesreview", false),
		row("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", "subjectaccessreview", false),
	}
}
