package custom

import (
	"cmp"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/util/webhook"
)

// plan decides what the status of every definition is to be, as upstream's naming,
// establishing and API approval controllers would after some rounds. It gives the
// definitions, in the order given, changed ones as copies. builtIn gives the plural
// names of a group's built-in kinds: instances would lie among their objects.
//
// Who came first has a name: definitions are decided on in the order of creation, so
// that two gateways that see the same decide the same. There is no wait before a kind
// is established, as upstream's 5 seconds for several servers: a gateway that does not
// know a kind looks behind a barrier before it says so.
//
// Upstream's NonStructuralSchema condition has no counterpart: only definitions of
// apiextensions.k8s.io/v1beta1 could be without a structural schema.
func plan(crds []*apiextensionsv1.CustomResourceDefinition, builtIn func(group string) []string) []*apiextensionsv1.CustomResourceDefinition {
	var open []int
	groups := map[string]taken{}
	for i, crd := range crds {
		if !decided(crd) {
			open = append(open, i)
			groups[crd.Spec.Group] = newTaken(builtIn(crd.Spec.Group))
		}
	}
	if len(open) == 0 {
		return crds
	}
	for _, crd := range crds {
		if t, ok := groups[crd.Spec.Group]; ok {
			t.add(crd.Status.AcceptedNames)
		}
	}
	slices.SortFunc(open, func(a, b int) int { return older(crds[a], crds[b]) })
	out := slices.Clone(crds)
	for _, i := range open {
		after := crds[i].DeepCopy()
		decide(after, groups[after.Spec.Group])
		if !equality.Semantic.DeepEqual(after.Status, crds[i].Status) {
			groups[after.Spec.Group].add(after.Status.AcceptedNames)
			out[i] = after
		}
	}
	return out
}

// decided says that a look at the definition alone shows that its status is to stay;
// of most, most of the time.
func decided(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return sameNames(crd.Spec.Names, crd.Status.AcceptedNames) && apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) &&
		!apihelpers.IsProtectedCommunityGroup(crd.Spec.Group)
}

func sameNames(a, b apiextensionsv1.CustomResourceDefinitionNames) bool {
	return a.Plural == b.Plural && a.Singular == b.Singular && a.Kind == b.Kind && a.ListKind == b.ListKind &&
		slices.Equal(a.ShortNames, b.ShortNames) && slices.Equal(a.Categories, b.Categories)
}

func older(a, b *apiextensionsv1.CustomResourceDefinition) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// decide brings the status of one definition up to date.
func decide(crd *apiextensionsv1.CustomResourceDefinition, names taken) {
	if !sameNames(crd.Spec.Names, crd.Status.AcceptedNames) {
		accepted, condition := names.accept(crd)
		crd.Status.AcceptedNames = accepted
		set(crd, condition)
		if apihelpers.FindCRDCondition(crd, apiextensionsv1.Established) == nil && !holds(crd) {
			set(crd, established(apiextensionsv1.ConditionFalse, "NotAccepted", "not all names are accepted"))
		}
	}
	if holds(crd) && !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
		if invalidBundle(crd) {
			set(crd, established(apiextensionsv1.ConditionFalse, "InvalidCABundle", "The conversion webhook CABundle is invalid"))
		} else {
			set(crd, established(apiextensionsv1.ConditionTrue, "InitialNamesAccepted", "the initial names have been accepted"))
		}
	}
	if apihelpers.IsProtectedCommunityGroup(crd.Spec.Group) {
		set(crd, approval(crd.Annotations))
	}
}

// set is upstream's, but that a condition which says the same keeps its time.
func set(crd *apiextensionsv1.CustomResourceDefinition, condition apiextensionsv1.CustomResourceDefinitionCondition) {
	if !apihelpers.IsCRDConditionEquivalent(&condition, apihelpers.FindCRDCondition(crd, condition.Type)) {
		apihelpers.SetCRDCondition(crd, condition)
	}
}

func established(status apiextensionsv1.ConditionStatus, reason, message string) apiextensionsv1.CustomResourceDefinitionCondition {
	return apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Established, Status: status, Reason: reason, Message: message}
}

func invalidBundle(crd *apiextensionsv1.CustomResourceDefinition) bool {
	c := crd.Spec.Conversion
	return c != nil && c.Webhook != nil && c.Webhook.ClientConfig != nil &&
		len(webhook.ValidateCABundle(field.NewPath(""), c.Webhook.ClientConfig.CABundle)) > 0
}

// approval says whether a kind in one of Kubernetes' own groups was approved there.
func approval(annotations map[string]string) apiextensionsv1.CustomResourceDefinitionCondition {
	condition := apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.KubernetesAPIApprovalPolicyConformant}
	state, message := apihelpers.GetAPIApprovalState(annotations)
	condition.Status, condition.Message = apiextensionsv1.ConditionFalse, message
	switch state {
	case apihelpers.APIApprovalInvalid:
		condition.Reason = "InvalidAnnotation"
	case apihelpers.APIApprovalMissing:
		condition.Reason = "MissingAnnotation"
	case apihelpers.APIApprovalBypassed:
		condition.Reason = "UnapprovedAnnotation"
	case apihelpers.APIApproved:
		condition.Status, condition.Reason = apiextensionsv1.ConditionTrue, "ApprovedAnnotation"
	default:
		condition.Status, condition.Reason = apiextensionsv1.ConditionUnknown, "UnknownAnnotation"
	}
	return condition
}
