package policy

import (
	"fmt"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	listersv1 "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// BenchmarkDispatch measures what 100 policies that match cost a create of a ConfigMap.
func BenchmarkDispatch(b *testing.B) {
	namespaces := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	if err := namespaces.Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"kubernetes.io/metadata.name": "shop"}}}); err != nil {
		b.Fatal(err)
	}
	d := &dispatcher{authorizer: everything{}, matcher: matching.NewMatcher(listersv1.NewNamespaceLister(namespaces), nil)}
	o := admission.NewObjectInterfacesFromScheme(legacyscheme.Scheme)
	var all []hook
	for i := range 100 {
		h := hooks(map[string]string{"kubernetes.io/metadata.name": "shop"}, nil)[0]
		h.Policy.Spec.MatchConstraints.ResourceRules = []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Create}, Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
		}}}
		h.Policy.Spec.Validations = []admissionv1.Validation{{Expression: fmt.Sprintf("!has(object.data) || object.data.all(k, object.data[k] != 'refused by %d')", i)}}
		h.Evaluator = compile(h.Policy)
		all = append(all, h)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Dispatch(b.Context(), asked(b, map[string]string{"a": "x"}), o, all); err != nil {
			b.Fatal(err)
		}
	}
}
