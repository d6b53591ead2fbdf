package resource

import "k8s.io/apimachinery/pkg/runtime/schema"

// Review is a kind that is only asked: its create verb answers and nothing is kept.
type Review struct {
	GVR        schema.GroupVersionResource
	GVK        schema.GroupVersionKind
	Singular   string
	Namespaced bool
}

// Reviews lists the review kinds.
func Reviews() []Review {
	row := func(group, resource, kind, singular string, namespaced bool) Review {
		gv := schema.GroupVersion{Group: group, Version: "v1"}
		return Review{GVR: gv.WithResource(resource), GVK: gv.WithKind(kind), Singular: singular, Namespaced: namespaced}
	}
	return []Review{
		row("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview", "selfsubjectreview", false),
		row("authentication.k8s.io", "tokenreviews", "TokenReview", "tokenreview", false),
		row("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview", "localsubjectaccessreview", true),
		row("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", "selfsubjectaccessreview", false),
		row("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview", "selfsubjectrulesreview", false),
		row("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", "subjectaccessreview", false),
	}
}
