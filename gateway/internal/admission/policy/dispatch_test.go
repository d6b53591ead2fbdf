package policy

import (
	"context"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	listersv1 "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

type everything struct{}

func (everything) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}

// hooks is one policy that refuses everything in namespaces and of objects with these labels.
func hooks(namespace, object map[string]string) []hook {
	p := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: namespace}, ObjectSelector: &metav1.LabelSelector{}},
		Validations:      []admissionv1.Validation{{Expression: "false", Message: "never"}},
	}}
	b := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: "p", ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{MatchLabels: object}},
	}}
	return []hook{{Policy: p, Bindings: []*admissionv1.ValidatingAdmissionPolicyBinding{b}, Evaluator: compile(p)}}
}

// A set of policies is prepared once, and another one in its place holds at once.
func TestEachSetOfPoliciesIsJudgedByItsOwnSelectors(t *testing.T) {
	namespaces := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	if err := namespaces.Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"policed": "yes"}}}); err != nil {
		t.Fatal(err)
	}
	d := &dispatcher{authorizer: everything{}, matcher: matching.NewMatcher(listersv1.NewNamespaceLister(namespaces), nil)}
	o := admission.NewObjectInterfacesFromScheme(legacyscheme.Scheme)
	labels := func(v string) map[string]string { return map[string]string{"policed": v} }
	broken := hooks(nil, nil)
	broken[0].Policy.Spec.MatchConstraints.NamespaceSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Guess"}}
	missing := hooks(nil, nil)
	missing[0].Policy.Spec.MatchConstraints.ObjectSelector = nil
	for _, c := range []struct {
		name  string
		hooks []hook
		want  string // "": admitted
	}{
		{"none", nil, ""},
		{"about every namespace and object", hooks(nil, nil), "denied request: never"},
		{"about this namespace", hooks(labels("yes"), nil), "denied request: never"},
		{"about another namespace", hooks(labels("no"), nil), ""},
		{"about other objects", hooks(nil, labels("yes")), ""},
		{"whose selector cannot be read", broken, `"Guess" is not a valid label selector operator`},
		{"without a selector", missing, "a nil object selector was passed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 { // when it is new, and when it is known
				err := d.Dispatch(t.Context(), asked(t, nil), o, c.hooks)
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			}
		})
	}
	// Which set is meant is told by the set itself, not by its size.
	if err := d.Dispatch(t.Context(), asked(t, nil), o, hooks(labels("no"), nil)); err != nil {
		t.Error(err)
	}
	if err := d.Dispatch(t.Context(), asked(t, nil), o, hooks(labels("yes"), nil)); err == nil {
		t.Error("a policy that replaced one about another namespace does not hold")
	}
}
