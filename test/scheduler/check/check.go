package check

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Checker holds the cluster as of the last event. It is not safe for concurrent use.
type Checker struct {
	nodes  map[string]*corev1.Node
	pods   map[types.UID]*corev1.Pod
	spaces map[string]labels.Set
	on     map[string]map[types.UID]*corev1.Pod // that take room, by node
	social map[types.UID]*corev1.Pod            // of these, with required anti-affinity
	sole   map[string]bool                      // claims, namespace/name, for one pod

	// Bound is how many bindings were seen; Violations what was wrong with them.
	Bound      int
	Violations []string
}

// New knows of an empty cluster.
func New() *Checker {
	return &Checker{
		nodes: map[string]*corev1.Node{}, pods: map[types.UID]*corev1.Pod{}, spaces: map[string]labels.Set{},
		on: map[string]map[types.UID]*corev1.Pod{}, social: map[types.UID]*corev1.Pod{}, sole: map[string]bool{},
	}
}

// Node takes over a node's version.
func (c *Checker) Node(n *corev1.Node, gone bool) {
	if gone {
		delete(c.nodes, n.Name)
		return
	}
	c.nodes[n.Name] = n
}

// Namespace takes over a namespace's version.
func (c *Checker) Namespace(n *corev1.Namespace, gone bool) {
	if gone {
		delete(c.spaces, n.Name)
		return
	}
	c.spaces[n.Name] = n.Labels
}

// Claim takes over a claim's version.
func (c *Checker) Claim(p *corev1.PersistentVolumeClaim, gone bool) {
	c.sole[p.Namespace+"/"+p.Name] = !gone && slices.Contains(p.Spec.AccessModes, corev1.ReadWriteOncePod)
}

// Pod takes over a pod's version. Where it is the first with a node, the binding is judged by
// what was there just before. Pods that are first seen with a node, before the beginning, are
// not judged.
func (c *Checker) Pod(p *corev1.Pod, gone bool) {
	old := c.pods[p.UID]
	if old != nil {
		delete(c.on[old.Spec.NodeName], p.UID)
		delete(c.social, p.UID)
	}
	if gone {
		delete(c.pods, p.UID)
		return
	}
	c.pods[p.UID] = p
	if old != nil && old.Spec.NodeName != "" && old.Spec.NodeName != p.Spec.NodeName {
		c.wrong(p, "was bound to %s and then to %s", old.Spec.NodeName, p.Spec.NodeName)
	}
	if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return
	}
	if old != nil && old.Spec.NodeName == "" {
		c.Bound++
		c.judge(p)
	}
	if c.on[p.Spec.NodeName] == nil {
		c.on[p.Spec.NodeName] = map[types.UID]*corev1.Pod{}
	}
	c.on[p.Spec.NodeName][p.UID] = p
	if a := p.Spec.Affinity; a != nil && a.PodAntiAffinity != nil && len(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
		c.social[p.UID] = p
	}
}

func (c *Checker) wrong(p *corev1.Pod, format string, args ...any) {
	c.Violations = append(c.Violations, fmt.Sprintf("%s/%s at %s: ", p.Namespace, p.Name, p.ResourceVersion)+fmt.Sprintf(format, args...))
}

func (c *Checker) judge(p *corev1.Pod) {
	n := c.nodes[p.Spec.NodeName]
	if n == nil {
		c.wrong(p, "was bound to %s, which is not there", p.Spec.NodeName)
		return
	}
	c.room(p, n)
	c.ports(p, n)
	c.labels(p, n)
	c.claims(p)
	c.apart(p, n)
	c.together(p, n)
	c.spread(p, n)
}

var requests = resource.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}

// room adds up what the pods of the node ask, with this one.
func (c *Checker) room(p *corev1.Pod, n *corev1.Node) {
	asked := resource.PodRequests(p, requests)
	pods := n.Status.Allocatable[corev1.ResourcePods]
	if have := int64(len(c.on[n.Name]) + 1); have > pods.Value() {
		c.wrong(p, "is pod %d on %s, which takes %d", have, n.Name, pods.Value())
	}
	for name, amount := range asked {
		if amount.IsZero() {
			continue
		}
		sum := amount.DeepCopy()
		for _, other := range c.on[n.Name] {
			sum.Add(resource.PodRequests(other, requests)[name])
		}
		if limit := n.Status.Allocatable[name]; sum.Cmp(limit) > 0 {
			c.wrong(p, "brings %s on %s to %s of %s", name, n.Name, sum.String(), limit.String())
		}
	}
}

func (c *Checker) ports(p *corev1.Pod, n *corev1.Node) {
	for _, other := range c.on[n.Name] {
		for _, x := range hostPorts(p) {
			for _, y := range hostPorts(other) {
				if x.HostPort == y.HostPort && x.Protocol == y.Protocol && (x.HostIP == y.HostIP || everywhere(x.HostIP) || everywhere(y.HostIP)) {
					c.wrong(p, "has host port %d of %s/%s on %s", x.HostPort, other.Namespace, other.Name, n.Name)
				}
			}
		}
	}
}

func everywhere(ip string) bool { return ip == "" || ip == "0.0.0.0" }

func hostPorts(p *corev1.Pod) []corev1.ContainerPort {
	var out []corev1.ContainerPort
	for i := range p.Spec.Containers {
		for _, port := range p.Spec.Containers[i].Ports {
			if port.HostPort > 0 {
				if port.Protocol == "" {
					port.Protocol = corev1.ProtocolTCP
				}
				out = append(out, port)
			}
		}
	}
	return out
}

// labels judges node selectors. Taints are left out: one that came while a binding was on its
// way is nobody's fault.
func (c *Checker) labels(p *corev1.Pod, n *corev1.Node) {
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(p).Match(n); err != nil || !ok {
		c.wrong(p, "was bound to %s, which its node selector or affinity does not match", n.Name)
	}
}

func (c *Checker) claims(p *corev1.Pod) {
	mine := claimsOf(p)
	for _, key := range mine {
		if !c.sole[key] {
			continue
		}
		for _, pods := range c.on {
			for _, other := range pods {
				if slices.Contains(claimsOf(other), key) {
					c.wrong(p, "has claim %s, which is for one pod, with %s/%s", key, other.Namespace, other.Name)
				}
			}
		}
	}
}

func claimsOf(p *corev1.Pod) []string {
	var out []string
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			out = append(out, p.Namespace+"/"+v.PersistentVolumeClaim.ClaimName)
		}
		if v.Ephemeral != nil {
			out = append(out, p.Namespace+"/"+p.Name+"-"+v.Name)
		}
	}
	return out
}

// chooses tells whether a term of one pod chooses another.
func (c *Checker) chooses(t *corev1.PodAffinityTerm, of, other *corev1.Pod) bool {
	spaces := t.Namespaces
	if len(spaces) == 0 && t.NamespaceSelector == nil {
		spaces = []string{of.Namespace}
	}
	return (slices.Contains(spaces, other.Namespace) || t.NamespaceSelector != nil && matches(t.NamespaceSelector, c.spaces[other.Namespace])) &&
		matches(t.LabelSelector, other.Labels)
}

func matches(s *metav1.LabelSelector, set labels.Set) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(set)
}

// domain is a node's value of a key.
func (c *Checker) domain(node, key string) (string, bool) {
	n := c.nodes[node]
	if n == nil {
		return "", false
	}
	value, ok := n.Labels[key]
	return value, ok
}

func (c *Checker) sameDomain(a, b, key string) bool {
	x, okX := c.domain(a, key)
	y, okY := c.domain(b, key)
	return okX && okY && x == y
}

func (c *Checker) everyPod(fn func(*corev1.Pod)) {
	for _, pods := range c.on {
		for _, p := range pods {
			fn(p)
		}
	}
}

// apart judges anti-affinity both ways.
func (c *Checker) apart(p *corev1.Pod, n *corev1.Node) {
	if a := p.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		for i := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			t := &a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i]
			c.everyPod(func(other *corev1.Pod) {
				if c.chooses(t, p, other) && c.sameDomain(n.Name, other.Spec.NodeName, t.TopologyKey) {
					c.wrong(p, "is with %s/%s in one %s, against its anti-affinity", other.Namespace, other.Name, t.TopologyKey)
				}
			})
		}
	}
	for _, other := range c.social {
		for i := range other.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			t := &other.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i]
			if c.chooses(t, other, p) && c.sameDomain(n.Name, other.Spec.NodeName, t.TopologyKey) {
				c.wrong(p, "is with %s/%s in one %s, against that one's anti-affinity", other.Namespace, other.Name, t.TopologyKey)
			}
		}
	}
}

// together judges required affinity: a pod that all terms choose is in the domain of each, or
// there is none anywhere and the pod chooses itself.
func (c *Checker) together(p *corev1.Pod, n *corev1.Node) {
	a := p.Spec.Affinity
	if a == nil || a.PodAffinity == nil || len(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution) == 0 {
		return
	}
	terms := a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	all := func(other *corev1.Pod) bool {
		for i := range terms {
			if !c.chooses(&terms[i], p, other) {
				return false
			}
		}
		return true
	}
	anywhere, here := false, make([]bool, len(terms))
	c.everyPod(func(other *corev1.Pod) {
		if !all(other) {
			return
		}
		for i := range terms {
			if _, ok := c.domain(other.Spec.NodeName, terms[i].TopologyKey); ok {
				anywhere = true
			}
			here[i] = here[i] || c.sameDomain(n.Name, other.Spec.NodeName, terms[i].TopologyKey)
		}
	})
	if slices.Contains(here, false) && (anywhere || !all(p)) {
		c.wrong(p, "is on %s, away from those that it must be near", n.Name)
	}
}

// spread judges hard spreading over the domains of eligible nodes.
func (c *Checker) spread(p *corev1.Pod, n *corev1.Node) {
	var hard []corev1.TopologySpreadConstraint
	for _, t := range p.Spec.TopologySpreadConstraints {
		if t.WhenUnsatisfiable == corev1.DoNotSchedule {
			hard = append(hard, t)
		}
	}
	for i := range hard {
		t := &hard[i]
		selector := t.LabelSelector.DeepCopy()
		for _, key := range t.MatchLabelKeys {
			if value, ok := p.Labels[key]; ok && selector != nil {
				selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{value}})
			}
		}
		counts := map[string]int{}
		for name, node := range c.nodes {
			if c.eligible(p, node, t, hard) {
				value := node.Labels[t.TopologyKey]
				counts[value] += 0
				for _, other := range c.on[name] {
					if other.DeletionTimestamp == nil && other.Namespace == p.Namespace && matches(selector, other.Labels) && selector != nil {
						counts[value]++
					}
				}
			}
		}
		own, ok := n.Labels[t.TopologyKey]
		if !ok {
			c.wrong(p, "is on %s, which has no %s to spread over", n.Name, t.TopologyKey)
			continue
		}
		least := 0
		if len(counts) > 0 && (t.MinDomains == nil || len(counts) >= int(*t.MinDomains)) {
			least = slices.Min(slices.Collect(maps.Values(counts)))
		}
		self := 0
		if selector != nil && matches(selector, p.Labels) {
			self = 1
		}
		if skew := counts[own] + self - least; skew > int(t.MaxSkew) {
			c.wrong(p, "brings the skew over %s to %d, above %d", t.TopologyKey, skew, t.MaxSkew)
		}
	}
}

func (c *Checker) eligible(p *corev1.Pod, n *corev1.Node, t *corev1.TopologySpreadConstraint, all []corev1.TopologySpreadConstraint) bool {
	for i := range all {
		if _, ok := n.Labels[all[i].TopologyKey]; !ok {
			return false
		}
	}
	if t.NodeAffinityPolicy == nil || *t.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor {
		if ok, err := nodeaffinity.GetRequiredNodeAffinity(p).Match(n); err != nil || !ok {
			return false
		}
	}
	if t.NodeTaintsPolicy != nil && *t.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor {
		for i := range n.Spec.Taints {
			if taint := &n.Spec.Taints[i]; taint.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated(p, taint) {
				return false
			}
		}
	}
	return true
}

func tolerated(p *corev1.Pod, taint *corev1.Taint) bool {
	return slices.ContainsFunc(p.Spec.Tolerations, func(t corev1.Toleration) bool {
		return (t.Effect == "" || t.Effect == taint.Effect) && (t.Key == "" || t.Key == taint.Key) &&
			(t.Operator == corev1.TolerationOpExists || t.Value == taint.Value && t.Key != "")
	})
}
