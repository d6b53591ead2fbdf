package policy

import (
	"context"
	"errors"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
)

// Upstream's words for what the API does not let in.
var (
	errNoConstraints = errors.New("policy contained no match constraints, a required field")
	errNoNamespaces  = errors.New("a nil namespace selector was passed, please ensure selectors are initialized properly")
	errNoObjects     = errors.New("a nil object selector was passed, please ensure selectors are initialized properly")
)

// criteria are match constraints, their selectors read.
type criteria struct {
	resources   *admissionv1.MatchResources
	namespaces  labels.Selector
	objects     labels.Selector
	noNamespace error
	noObject    error
}

func newCriteria(r *admissionv1.MatchResources) *criteria {
	c := &criteria{resources: r}
	c.namespaces, c.noNamespace = metav1.LabelSelectorAsSelector(r.NamespaceSelector)
	c.objects, c.noObject = metav1.LabelSelectorAsSelector(r.ObjectSelector)
	return c
}

// GetParsedNamespaceSelector is upstream's matching.MatchCriteria.
func (c *criteria) GetParsedNamespaceSelector() (labels.Selector, error) {
	return c.namespaces, c.noNamespace
}

// GetParsedObjectSelector is upstream's matching.MatchCriteria.
func (c *criteria) GetParsedObjectSelector() (labels.Selector, error) { return c.objects, c.noObject }

// GetMatchResources is upstream's matching.MatchCriteria.
func (c *criteria) GetMatchResources() admissionv1.MatchResources { return *c.resources }

// matcher is upstream's generic.PolicyMatcher over criteria that are read already. It is
// not changed once it is made.
type matcher struct {
	*matching.Matcher
	known map[*admissionv1.MatchResources]*criteria
}

var _ generic.PolicyMatcher = (*matcher)(nil)

func newMatcher(m *matching.Matcher, hooks []hook) *matcher {
	out := &matcher{Matcher: m, known: map[*admissionv1.MatchResources]*criteria{}}
	add := func(r *admissionv1.MatchResources) {
		if r != nil && r.NamespaceSelector != nil && r.ObjectSelector != nil {
			out.known[r] = newCriteria(r)
		}
	}
	for _, h := range hooks {
		add(h.Policy.Spec.MatchConstraints)
		for _, b := range h.Bindings {
			add(b.Spec.MatchResources)
		}
	}
	return out
}

// DefinitionMatches is upstream's generic.PolicyMatcher.
func (m *matcher) DefinitionMatches(a admission.Attributes, o admission.ObjectInterfaces, policy generic.PolicyAccessor) (bool, schema.GroupVersionResource, schema.GroupVersionKind, error) {
	constraints := policy.GetMatchConstraints()
	if constraints == nil {
		return false, schema.GroupVersionResource{}, schema.GroupVersionKind{}, errNoConstraints
	}
	return m.matches(a, o, constraints)
}

// BindingMatches is upstream's generic.PolicyMatcher.
func (m *matcher) BindingMatches(a admission.Attributes, o admission.ObjectInterfaces, binding generic.BindingAccessor) (bool, error) {
	resources := binding.GetMatchResources()
	if resources == nil {
		return true, nil
	}
	matches, _, _, err := m.matches(a, o, resources)
	return matches, err
}

func (m *matcher) matches(a admission.Attributes, o admission.ObjectInterfaces, r *admissionv1.MatchResources) (bool, schema.GroupVersionResource, schema.GroupVersionKind, error) {
	switch {
	case r.NamespaceSelector == nil:
		return false, schema.GroupVersionResource{}, schema.GroupVersionKind{}, errNoNamespaces
	case r.ObjectSelector == nil:
		return false, schema.GroupVersionResource{}, schema.GroupVersionKind{}, errNoObjects
	}
	c := m.known[r]
	if c == nil {
		c = newCriteria(r)
	}
	return m.Matches(a, o, c)
}

// GetNamespace is upstream's generic.PolicyMatcher.
func (m *matcher) GetNamespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	return m.Matcher.GetNamespace(ctx, name)
}
