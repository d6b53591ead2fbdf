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

// criteria are match constraints, their selectors read. All constraints of a set that say
// the same are one.
type criteria struct {
	number      int // among those of the set; negative: of no set
	resources   *admissionv1.MatchResources
	namespaces  labels.Selector
	objects     labels.Selector
	noNamespace error
	noObject    error
}

func newCriteria(number int, r *admissionv1.MatchResources) *criteria {
	c := &criteria{number: number, resources: r}
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

// matcher knows the criteria of a set of policies and bindings. It is not changed once it
// is made.
type matcher struct {
	*matching.Matcher
	known map[*admissionv1.MatchResources]*criteria
	count int // of different criteria
}

func newMatcher(m *matching.Matcher, hooks []hook) *matcher {
	out := &matcher{Matcher: m, known: map[*admissionv1.MatchResources]*criteria{}}
	same := map[string]*criteria{} // by what they say
	add := func(r *admissionv1.MatchResources) {
		if r == nil || r.NamespaceSelector == nil || r.ObjectSelector == nil {
			return
		}
		said, err := r.Marshal()
		if err != nil {
			return // they are read anew for each request
		}
		c := same[string(said)]
		if c == nil {
			c = newCriteria(out.count, r)
			same[string(said)] = c
			out.count++
		}
		out.known[r] = c
	}
	for _, h := range hooks {
		add(h.Policy.Spec.MatchConstraints)
		for _, b := range h.Bindings {
			add(b.Spec.MatchResources)
		}
	}
	return out
}

// once is for one request.
func (m *matcher) once() *once { return &once{matcher: m, answers: make([]answer, m.count)} }

// once is upstream's generic.PolicyMatcher for one request, which is held against each of
// the criteria once. It serves one goroutine.
type once struct {
	*matcher
	answers   []answer
	namespace *corev1.Namespace // nil: not asked for
}

// answer is what upstream's matcher said.
type answer struct {
	known, matches bool
	resource       schema.GroupVersionResource
	kind           schema.GroupVersionKind
	err            error
}

var _ generic.PolicyMatcher = (*once)(nil)

// DefinitionMatches is upstream's generic.PolicyMatcher.
func (m *once) DefinitionMatches(a admission.Attributes, o admission.ObjectInterfaces, policy generic.PolicyAccessor) (bool, schema.GroupVersionResource, schema.GroupVersionKind, error) {
	constraints := policy.GetMatchConstraints()
	if constraints == nil {
		return false, schema.GroupVersionResource{}, schema.GroupVersionKind{}, errNoConstraints
	}
	return m.match(a, o, constraints)
}

// BindingMatches is upstream's generic.PolicyMatcher.
func (m *once) BindingMatches(a admission.Attributes, o admission.ObjectInterfaces, binding generic.BindingAccessor) (bool, error) {
	resources := binding.GetMatchResources()
	if resources == nil {
		return true, nil
	}
	matches, _, _, err := m.match(a, o, resources)
	return matches, err
}

func (m *once) match(a admission.Attributes, o admission.ObjectInterfaces, r *admissionv1.MatchResources) (bool, schema.GroupVersionResource, schema.GroupVersionKind, error) {
	switch {
	case r.NamespaceSelector == nil:
		return false, schema.GroupVersionResource{}, schema.GroupVersionKind{}, errNoNamespaces
	case r.ObjectSelector == nil:
		return false, schema.GroupVersionResource{}, schema.GroupVersionKind{}, errNoObjects
	}
	c := m.known[r]
	if c == nil {
		return m.Matches(a, o, newCriteria(-1, r))
	}
	to := &m.answers[c.number]
	if !to.known {
		to.matches, to.resource, to.kind, to.err = m.Matches(a, o, c)
		to.known = true
	}
	return to.matches, to.resource, to.kind, to.err
}

// GetNamespace is upstream's generic.PolicyMatcher.
func (m *once) GetNamespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	if m.namespace != nil && m.namespace.Name == name {
		return m.namespace, nil
	}
	found, err := m.Matcher.GetNamespace(ctx, name)
	if err == nil {
		m.namespace = found
	}
	return found, err
}
