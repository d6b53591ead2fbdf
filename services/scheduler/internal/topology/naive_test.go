package topology

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/node"
)

// naive is a cluster that counts nothing: it answers by looking at every pod, as upstream's
// documentation states the rules. The index must agree with it.
type naive struct {
	nodes  map[int32]*node.Node
	spaces map[string]labels.Set
	pods   []pod
}

func (c *naive) label(at int32, key string) (string, bool) {
	n := c.nodes[at]
	if n == nil {
		return "", false
	}
	value, ok := n.Self.Labels[key]
	return value, ok
}

func (c *naive) chosen(t *corev1.PodAffinityTerm, by, other pod) bool {
	in := slices.Contains(t.Namespaces, other.space()) || len(t.Namespaces) == 0 && t.NamespaceSelector == nil && by.space() == other.space()
	if t.NamespaceSelector != nil {
		in = in || parsed(t.NamespaceSelector).Matches(c.spaces[other.space()])
	}
	return in && parsed(t.LabelSelector).Matches(other.labels)
}

func parsed(s *metav1.LabelSelector) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		panic(err)
	}
	return out
}

func (p pod) space() string {
	if p.namespace == "" {
		return "default"
	}
	return p.namespace
}

func (p pod) required() (near, apart []corev1.PodAffinityTerm) {
	if a := p.spec.Affinity; a != nil && a.PodAffinity != nil {
		near = a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	if a := p.spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		apart = a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	return near, apart
}

// together tells whether two nodes are in one domain of a key.
func (c *naive) together(a, b int32, key string) bool {
	x, ok := c.label(a, key)
	y, also := c.label(b, key)
	return ok && also && x == y
}

func (c *naive) check(p pod, at int32) filter.Reason {
	for i := range p.spec.TopologySpreadConstraints {
		if r := c.spread(p, &p.spec.TopologySpreadConstraints[i], at); r != filter.OK {
			return r
		}
	}
	near, apart := p.required()
	if !c.near(p, near, at) {
		return filter.Affinity
	}
	for i := range apart {
		if slices.ContainsFunc(c.pods, func(o pod) bool { return c.chosen(&apart[i], p, o) && c.together(o.on, at, apart[i].TopologyKey) }) {
			return filter.AntiAffinity
		}
	}
	for _, o := range c.pods {
		_, theirs := o.required()
		for i := range theirs {
			if c.chosen(&theirs[i], o, p) && c.together(o.on, at, theirs[i].TopologyKey) {
				return filter.ExistingAntiAffinity
			}
		}
	}
	return filter.OK
}

func (c *naive) near(p pod, terms []corev1.PodAffinityTerm, at int32) bool {
	all := func(o pod) bool {
		return !slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return !c.chosen(&t, p, o) })
	}
	met, somewhere := true, false
	for i := range terms {
		key := terms[i].TopologyKey
		if _, has := c.label(at, key); !has {
			return false
		}
		here := false
		for _, o := range c.pods {
			if _, has := c.label(o.on, key); has && all(o) {
				somewhere = true
				here = here || c.together(o.on, at, key)
			}
		}
		met = met && here
	}
	return met || !somewhere && all(p)
}

func (c *naive) spread(p pod, t *corev1.TopologySpreadConstraint, at int32) filter.Reason {
	here, has := c.label(at, t.TopologyKey)
	if !has {
		return filter.SpreadLabel
	}
	counts := map[string]int32{}
	for i := range c.nodes {
		if value, ok := c.label(i, t.TopologyKey); ok {
			counts[value] += 0
		}
	}
	for _, o := range c.pods {
		if value, ok := c.label(o.on, t.TopologyKey); ok && !o.leaving && o.space() == p.space() && parsed(t.LabelSelector).Matches(o.labels) {
			counts[value]++
		}
	}
	least := int32(-1)
	for _, n := range counts {
		if least < 0 || n < least {
			least = n
		}
	}
	self := int32(0)
	if parsed(t.LabelSelector).Matches(p.labels) {
		self = 1
	}
	if counts[here]+self-least > t.MaxSkew {
		return filter.SpreadSkew
	}
	return filter.OK
}
