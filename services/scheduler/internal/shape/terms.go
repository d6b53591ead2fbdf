package shape

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Selector chooses pods: those in the namespaces, or in namespaces with the labels, whose
// own labels match. Name is the same only for selectors that choose the same.
type Selector struct {
	Name       string
	Namespaces []string
	Spaces     labels.Selector // of namespaces; nil: none but Namespaces
	Labels     labels.Selector
}

// Matches tells whether a pod is chosen; space are its namespace's labels.
func (s *Selector) Matches(id *Identity, space labels.Set) bool {
	if !slices.Contains(s.Namespaces, id.Namespace) && (s.Spaces == nil || !s.Spaces.Matches(space)) {
		return false
	}
	return s.Labels.Matches(id.Labels)
}

// Term asks for, or against, chosen pods in the topology domain of the pod's node.
type Term struct {
	Selector Selector
	Key      string // of the node label whose values are the domains
}

// Preference is a Term that is worth Weight; what is against has a negative one.
type Preference struct {
	Term
	Weight int64
}

// Spread is a topology spread constraint with upstream's defaults filled in.
type Spread struct {
	Selector    Selector
	Key         string
	MaxSkew     int32
	MinDomains  int32
	HonorNodes  bool // count only nodes that nodeSelector and node affinity let the pod onto
	HonorTaints bool // count only nodes whose taints the pod tolerates
	Self        bool // the pod itself is counted
	// Empty: the selector is empty. Upstream counts none of the pods that run for it, but does
	// count those of the namespace that it supposes to run, or to be gone, for a question.
	Empty bool
}

// Terms is what a pod says of other pods.
type Terms struct {
	Affinity     []Term // all required
	AntiAffinity []Term // none may be met
	Preferred    []Preference
	// Attracts is what pods chosen by it gain by being near this one, once it runs: its
	// preferences, and a little for its required affinity.
	Attracts []Preference
	Hard     []Spread // DoNotSchedule
	Soft     []Spread // ScheduleAnyway
	// System: Soft are upstream's own, for pods without any: a node that lacks the key of one
	// is judged by the others.
	System bool
}

// social tells whether a pod says anything of other pods.
func social(spec *corev1.PodSpec) bool {
	return len(spec.TopologySpreadConstraints) > 0 ||
		spec.Affinity != nil && (spec.Affinity.PodAffinity != nil || spec.Affinity.PodAntiAffinity != nil)
}

// termsOf reads what the pod says of others, nil when nothing. A selector that cannot be
// parsed matches nothing; the API refuses it anyway.
func termsOf(profile *Profile, pod *corev1.Pod, spreads bool) *Terms {
	constraints := pod.Spec.TopologySpreadConstraints
	if len(constraints) == 0 && spreads {
		constraints = chosen(profile.Defaults, pod)
	}
	if !social(&pod.Spec) && len(constraints) == 0 {
		return nil
	}
	t := &Terms{}
	if a := pod.Spec.Affinity; a != nil && a.PodAffinity != nil {
		t.Affinity = terms(pod, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		t.Preferred = preferences(t.Preferred, pod, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, 1)
	}
	if a := pod.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		t.AntiAffinity = terms(pod, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		t.Preferred = preferences(t.Preferred, pod, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, -1)
	}
	t.Attracts = slices.Clone(t.Preferred)
	for _, term := range t.Affinity {
		t.Attracts = append(t.Attracts, Preference{term, profile.HardAffinity})
	}
	if profile.Off&InterPodAffinity != 0 {
		t.Affinity, t.AntiAffinity = nil, nil
	}
	for i := range constraints {
		c := &constraints[i]
		if c.WhenUnsatisfiable == corev1.DoNotSchedule && profile.Off&PodTopologySpread != 0 {
			continue
		}
		if c.WhenUnsatisfiable == corev1.DoNotSchedule {
			t.Hard = append(t.Hard, spread(pod, c))
		} else {
			t.Soft = append(t.Soft, spread(pod, c))
		}
	}
	return t
}

// chosen are a profile's constraints with what they count filled in: the pods that are labelled
// as this one.
func chosen(defaults []corev1.TopologySpreadConstraint, pod *corev1.Pod) []corev1.TopologySpreadConstraint {
	alike := siblings(pod.Labels)
	if len(alike) == 0 {
		return nil
	}
	out := slices.Clone(defaults)
	for i := range out {
		out[i].LabelSelector = &metav1.LabelSelector{MatchLabels: alike}
	}
	return out
}

func terms(pod *corev1.Pod, list []corev1.PodAffinityTerm) []Term {
	var out []Term
	for i := range list {
		out = append(out, term(pod, &list[i]))
	}
	return out
}

func preferences(out []Preference, pod *corev1.Pod, list []corev1.WeightedPodAffinityTerm, sign int64) []Preference {
	for i := range list {
		out = append(out, Preference{term(pod, &list[i].PodAffinityTerm), sign * int64(list[i].Weight)})
	}
	return out
}

// term follows upstream's newAffinityTerm: without namespaces and namespaceSelector it is
// about the pod's own namespace. The API has merged matchLabelKeys into the selector.
func term(pod *corev1.Pod, t *corev1.PodAffinityTerm) Term {
	spaces := slices.Clone(t.Namespaces)
	if len(spaces) == 0 && t.NamespaceSelector == nil {
		spaces = []string{pod.Namespace}
	}
	slices.Sort(spaces)
	s := Selector{Namespaces: slices.Compact(spaces), Labels: selector(t.LabelSelector)}
	if t.NamespaceSelector != nil {
		s.Spaces = selector(t.NamespaceSelector)
	}
	return Term{Selector: s.named(), Key: t.TopologyKey}
}

func spread(pod *corev1.Pod, c *corev1.TopologySpreadConstraint) Spread {
	chosen := selector(c.LabelSelector)
	for _, key := range c.MatchLabelKeys {
		if value, ok := pod.Labels[key]; ok {
			if r, err := labels.NewRequirement(key, "in", []string{value}); err == nil && c.LabelSelector != nil {
				chosen = chosen.Add(*r)
			}
		}
	}
	self := chosen.Matches(labels.Set(pod.Labels))
	_, selectable := chosen.Requirements()
	empty := selectable && chosen.Empty()
	if empty { // upstream's countPodsMatchSelector counts nothing then
		chosen = labels.Nothing()
	}
	s := Spread{
		Selector: Selector{Namespaces: []string{pod.Namespace}, Labels: chosen}.named(),
		Key:      c.TopologyKey, MaxSkew: c.MaxSkew, MinDomains: 1, HonorNodes: true, Self: self, Empty: empty,
	}
	if c.MinDomains != nil {
		s.MinDomains = *c.MinDomains
	}
	if c.NodeAffinityPolicy != nil {
		s.HonorNodes = *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor
	}
	if c.NodeTaintsPolicy != nil {
		s.HonorTaints = *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
	}
	return s
}

func selector(s *metav1.LabelSelector) labels.Selector {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return parsed
}

func (s Selector) named() Selector {
	var b strings.Builder
	b.WriteString(strings.Join(s.Namespaces, ","))
	b.WriteByte(0)
	if s.Spaces != nil {
		b.WriteString(describe(s.Spaces))
	} else {
		b.WriteString("-")
	}
	b.WriteByte(0)
	b.WriteString(describe(s.Labels))
	s.Name = b.String()
	return s
}

// describe tells Nothing from Everything, whose texts are both empty.
func describe(s labels.Selector) string {
	if _, selectable := s.Requirements(); !selectable {
		return "!"
	}
	return s.String()
}
