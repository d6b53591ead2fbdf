package topology

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/shape"
)

// pod is one of the tests: what it says of others, where it runs.
type pod struct {
	namespace string
	labels    labels.Set
	spec      corev1.PodSpec
	on        int32
	leaving   bool
}

func (p pod) read() (*shape.Identity, *shape.Shape) {
	if p.namespace == "" {
		p.namespace = "default"
	}
	obj := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Labels: p.labels}, Spec: p.spec}
	return &shape.Identity{Namespace: p.namespace, Labels: p.labels}, shape.New(obj)
}

func choose(pairs ...string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		s.MatchLabels[pairs[i]] = pairs[i+1]
	}
	return s
}

func near(terms ...corev1.PodAffinityTerm) corev1.PodSpec {
	return corev1.PodSpec{Affinity: &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}}
}

func apart(terms ...corev1.PodAffinityTerm) corev1.PodSpec {
	return corev1.PodSpec{Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}}
}

func by(key string, s *metav1.LabelSelector) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: s}
}

func spreadBy(key string, skew int32, change ...func(*corev1.TopologySpreadConstraint)) corev1.PodSpec {
	c := corev1.TopologySpreadConstraint{MaxSkew: skew, TopologyKey: key, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: choose("app", "web")}
	for _, f := range change {
		f(&c)
	}
	return corev1.PodSpec{TopologySpreadConstraints: []corev1.TopologySpreadConstraint{c}}
}

func aNode(name string, set map[string]string, taints ...corev1.Taint) *node.Node {
	obj := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	for k, v := range set {
		obj.Labels[k] = v
	}
	obj.Spec.Taints = taints
	n := &node.Node{Name: name}
	n.Set(obj, nil, node.NewClasses())
	return n
}

// zones has nodes 0 and 1 in zone a, 2 and 3 in zone b, and 4 in none.
func zones() *Index {
	x := New()
	for i, z := range []string{"a", "a", "b", "b", ""} {
		set := map[string]string{"rack": "r" + fmt.Sprint(i%2)}
		if z != "" {
			set["zone"] = z
		}
		x.SetNode(int32(i), aNode(fmt.Sprint("n", i), set))
	}
	x.SetSpace("default", labels.Set{"team": "one"})
	x.SetSpace("other", labels.Set{"team": "two"})
	return x
}

func TestRulesAboutOtherPods(t *testing.T) {
	const (
		ok   = filter.OK
		aff  = filter.Affinity
		anti = filter.AntiAffinity
		held = filter.ExistingAntiAffinity
		skew = filter.SpreadSkew
		lack = filter.SpreadLabel
	)
	web := labels.Set{"app": "web"}
	isWeb := choose("app", "web")
	elsewhere := func(spaces ...string) corev1.PodAffinityTerm {
		t := by("zone", isWeb)
		t.Namespaces = spaces
		return t
	}
	ofTeam := func(team string) corev1.PodAffinityTerm {
		t := by("zone", isWeb)
		t.NamespaceSelector = choose("team", team)
		return t
	}
	domains := func(n int32) func(*corev1.TopologySpreadConstraint) {
		return func(c *corev1.TopologySpreadConstraint) { c.MinDomains = &n }
	}
	tests := []struct {
		name    string
		running []pod
		pod     pod
		want    [5]filter.Reason
	}{
		{"no affinity, nobody minds", []pod{{labels: web, on: 0}}, pod{}, [5]filter.Reason{}},

		{"satisfies with requiredDuringScheduling affinity: the zone of a matching pod", []pod{{labels: web, on: 0}}, pod{spec: near(by("zone", isWeb))}, [5]filter.Reason{ok, ok, aff, aff, aff}},
		{"an existing pod of another namespace does not count", []pod{{namespace: "other", labels: web, on: 0}}, pod{spec: near(by("zone", isWeb))}, [5]filter.Reason{aff, aff, aff, aff, aff}},
		{"unless the term names the namespace", []pod{{namespace: "other", labels: web, on: 0}}, pod{spec: near(elsewhere("other"))}, [5]filter.Reason{ok, ok, aff, aff, aff}},
		{"or chooses it by label", []pod{{namespace: "other", labels: web, on: 2}}, pod{spec: near(ofTeam("two"))}, [5]filter.Reason{aff, aff, ok, ok, aff}},
		{"an empty namespaceSelector is every namespace", []pod{{namespace: "third", labels: web, on: 2}}, pod{spec: near(func() corev1.PodAffinityTerm {
			t := by("zone", isWeb)
			t.NamespaceSelector = &metav1.LabelSelector{}
			return t
		}())}, [5]filter.Reason{aff, aff, ok, ok, aff}},
		{"the first pod of a collection with affinity to itself starts where the keys are", nil, pod{labels: web, spec: near(by("zone", isWeb))}, [5]filter.Reason{ok, ok, ok, ok, aff}},
		{"but not one that asks for others", nil, pod{spec: near(by("zone", isWeb))}, [5]filter.Reason{aff, aff, aff, aff, aff}},
		{"the second goes to the first", []pod{{labels: web, spec: near(by("zone", isWeb)), on: 3}}, pod{labels: web, spec: near(by("zone", isWeb))}, [5]filter.Reason{aff, aff, ok, ok, aff}},
		{"one existing pod must match all terms", []pod{{labels: labels.Set{"app": "web"}, on: 0}, {labels: labels.Set{"tier": "x"}, on: 0}},
			pod{spec: near(by("zone", isWeb), by("rack", choose("tier", "x")))}, [5]filter.Reason{aff, aff, aff, aff, aff}},
		{"and one that does counts for every key", []pod{{labels: labels.Set{"app": "web", "tier": "x"}, on: 0}},
			pod{spec: near(by("zone", isWeb), by("rack", choose("tier", "x")))}, [5]filter.Reason{ok, aff, aff, aff, aff}},
		{"a terminating pod still counts for affinity", []pod{{labels: web, on: 0, leaving: true}}, pod{spec: near(by("zone", isWeb))}, [5]filter.Reason{ok, ok, aff, aff, aff}},
		{"a nil selector matches no pod", []pod{{labels: web, on: 0}}, pod{spec: near(by("zone", nil))}, [5]filter.Reason{aff, aff, aff, aff, aff}},

		{"anti-affinity keeps out of the zone, a node without the key is fine", []pod{{labels: web, on: 0}}, pod{spec: apart(by("zone", isWeb))}, [5]filter.Reason{anti, anti, ok, ok, ok}},
		{"by host name only of the node", []pod{{labels: web, on: 0}}, pod{spec: apart(by(corev1.LabelHostname, isWeb))}, [5]filter.Reason{anti, ok, ok, ok, ok}},
		{"existing pod's anti-affinity keeps a matching pod out: symmetry", []pod{{spec: apart(by("zone", isWeb)), on: 2}}, pod{labels: web}, [5]filter.Reason{ok, ok, held, held, ok}},
		{"and not one that it does not match", []pod{{spec: apart(by("zone", isWeb)), on: 2}}, pod{}, [5]filter.Reason{}},
		{"an existing pod's namespaceSelector sees the labels of the pod's namespace", []pod{{spec: apart(ofTeam("two")), on: 2}}, pod{namespace: "other", labels: web}, [5]filter.Reason{ok, ok, held, held, ok}},
		{"any of several terms is enough", []pod{{labels: web, on: 0}, {labels: labels.Set{"tier": "x"}, on: 3}},
			pod{spec: apart(by(corev1.LabelHostname, isWeb), by("zone", choose("tier", "x")))}, [5]filter.Reason{anti, ok, anti, anti, ok}},

		{"spread: no existing pods, every zone will do", nil, pod{labels: web, spec: spreadBy("zone", 1)}, [5]filter.Reason{ok, ok, ok, ok, lack}},
		{"normal case with one spreadConstraint: the emptier zone", []pod{{labels: web, on: 0}}, pod{labels: web, spec: spreadBy("zone", 1)}, [5]filter.Reason{skew, skew, ok, ok, lack}},
		{"a larger skew lets both", []pod{{labels: web, on: 0}}, pod{labels: web, spec: spreadBy("zone", 2)}, [5]filter.Reason{ok, ok, ok, ok, lack}},
		{"a pod that does not match its own selector adds nothing", []pod{{labels: web, on: 0}}, pod{spec: spreadBy("zone", 1)}, [5]filter.Reason{ok, ok, ok, ok, lack}},
		{"terminating pods are not counted", []pod{{labels: web, on: 0, leaving: true}}, pod{labels: web, spec: spreadBy("zone", 1)}, [5]filter.Reason{ok, ok, ok, ok, lack}},
		{"nor those of other namespaces", []pod{{namespace: "other", labels: web, on: 0}}, pod{labels: web, spec: spreadBy("zone", 1)}, [5]filter.Reason{ok, ok, ok, ok, lack}},
		{"fewer domains than minDomains: the global minimum is 0", []pod{{labels: web, on: 0}, {labels: web, on: 2}}, pod{labels: web, spec: spreadBy("zone", 1, domains(3))}, [5]filter.Reason{skew, skew, skew, skew, lack}},
		{"as many domains as minDomains", []pod{{labels: web, on: 0}, {labels: web, on: 2}}, pod{labels: web, spec: spreadBy("zone", 1, domains(2))}, [5]filter.Reason{ok, ok, ok, ok, lack}},
		{"by host name every node is a domain", []pod{{labels: web, on: 0}, {labels: web, on: 1}}, pod{labels: web, spec: spreadBy(corev1.LabelHostname, 1)}, [5]filter.Reason{skew, skew, ok, ok, ok}},
		{"matchLabelKeys tell revisions apart", []pod{{labels: labels.Set{"app": "web", "rev": "1"}, on: 0}},
			pod{labels: labels.Set{"app": "web", "rev": "2"}, spec: spreadBy("zone", 1, func(c *corev1.TopologySpreadConstraint) { c.MatchLabelKeys = []string{"rev"} })}, [5]filter.Reason{ok, ok, ok, ok, lack}},
		{"nodes that the node selector rules out are no domains", []pod{{labels: web, on: 0}}, pod{labels: web, spec: func() corev1.PodSpec {
			s := spreadBy("zone", 1)
			s.NodeSelector = map[string]string{"zone": "a"}
			return s
		}()}, [5]filter.Reason{ok, ok, ok, ok, lack}},
		{"unless nodeAffinityPolicy is Ignore", []pod{{labels: web, on: 0}}, pod{labels: web, spec: func() corev1.PodSpec {
			ignore := corev1.NodeInclusionPolicyIgnore
			s := spreadBy("zone", 1, func(c *corev1.TopologySpreadConstraint) { c.NodeAffinityPolicy = &ignore })
			s.NodeSelector = map[string]string{"zone": "a"}
			return s
		}()}, [5]filter.Reason{skew, skew, ok, ok, lack}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := zones()
			for _, p := range tt.running {
				id, s := p.read()
				x.Join(id, s)
				x.Enter(id, s, p.leaving, p.on)
			}
			id, s := tt.pod.read()
			x.Join(id, s)
			v := x.View(id, s)
			for i := range tt.want {
				if got := v.Check(int32(i)); got != tt.want[i] {
					t.Errorf("node %d: got %q, want %q", i, got, tt.want[i])
				}
			}
		})
	}
}

func TestTaintsRuleDomainsOutOnlyWhenHonored(t *testing.T) {
	x := New()
	x.SetNode(0, aNode("n0", map[string]string{"zone": "a"}))
	x.SetNode(1, aNode("n1", map[string]string{"zone": "b"}, corev1.Taint{Key: "k", Effect: corev1.TaintEffectNoSchedule}))
	id, s := pod{labels: labels.Set{"app": "web"}}.read()
	x.Join(id, s)
	x.Enter(id, s, false, 0)
	for policy, want := range map[corev1.NodeInclusionPolicy]filter.Reason{corev1.NodeInclusionPolicyIgnore: filter.SpreadSkew, corev1.NodeInclusionPolicyHonor: filter.OK} {
		id, s := pod{labels: labels.Set{"app": "web"}, spec: spreadBy("zone", 1, func(c *corev1.TopologySpreadConstraint) { c.NodeTaintsPolicy = &policy })}.read()
		x.Join(id, s)
		if got := x.View(id, s).Check(0); got != want {
			t.Errorf("nodeTaintsPolicy %s: got %q, want %q", policy, got, want)
		}
	}
}

func TestAttraction(t *testing.T) {
	prefer := func(weight int32, key string) corev1.PodSpec {
		return corev1.PodSpec{Affinity: &corev1.Affinity{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: weight, PodAffinityTerm: by(key, choose("app", "web"))}}}}}
	}
	avoid := func(weight int32, key string) corev1.PodSpec {
		return corev1.PodSpec{Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: weight, PodAffinityTerm: by(key, choose("app", "web"))}}}}}
	}
	web := labels.Set{"app": "web"}
	tests := []struct {
		name    string
		running []pod
		pod     pod
		want    [5]int64
	}{
		{"each matching pod of the domain is worth the weight", []pod{{labels: web, on: 0}, {labels: web, on: 1}}, pod{spec: prefer(5, "zone")}, [5]int64{10, 10, 0, 0, 0}},
		{"preferred anti-affinity takes away", []pod{{labels: web, on: 2}}, pod{spec: avoid(5, "zone")}, [5]int64{0, 0, -5, -5, 0}},
		{"existing pods' preferences count for those they prefer", []pod{{spec: prefer(7, "zone"), on: 2}}, pod{labels: web}, [5]int64{0, 0, 7, 7, 0}},
		{"existing pods' required affinity counts one", []pod{{labels: web, on: 0}, {labels: web, spec: near(by("zone", choose("app", "web"))), on: 0}}, pod{labels: web}, [5]int64{1, 1, 0, 0, 0}},
		{"both ways add up", []pod{{labels: web, spec: avoid(3, "zone"), on: 0}}, pod{labels: web, spec: prefer(5, corev1.LabelHostname)}, [5]int64{2, -3, 0, 0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := zones()
			for _, p := range tt.running {
				id, s := p.read()
				x.Join(id, s)
				x.Enter(id, s, false, p.on)
			}
			id, s := tt.pod.read()
			x.Join(id, s)
			v := x.View(id, s)
			for i := range tt.want {
				if got := v.Attraction(int32(i)); got != tt.want[i] {
					t.Errorf("node %d: got %d, want %d", i, got, tt.want[i])
				}
			}
		})
	}
}

// Whatever came and went in whatever order, the index says what looking at every pod says.
func TestCountsFollowEveryChange(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		template := func() pod {
			p := pod{namespace: []string{"default", "other"}[r.IntN(2)], labels: labels.Set{"app": []string{"web", "db"}[r.IntN(2)]}}
			key := []string{"zone", "rack", corev1.LabelHostname}[r.IntN(3)]
			term := by(key, choose("app", []string{"web", "db"}[r.IntN(2)]))
			if r.IntN(3) == 0 {
				term.NamespaceSelector = choose("team", []string{"one", "two"}[r.IntN(2)])
			}
			switch r.IntN(5) {
			case 0:
				p.spec = near(term)
			case 1:
				p.spec = near(term, by("rack", choose("app", "web")))
			case 2:
				p.spec = apart(term)
			case 3:
				p.spec = spreadBy(key, 1+r.Int32N(2))
			}
			return p
		}
		var templates []pod
		for range 12 {
			templates = append(templates, template())
		}
		kept := New()
		truth := naive{nodes: map[int32]*node.Node{}, spaces: map[string]labels.Set{}}
		type known struct {
			id *shape.Identity
			s  *shape.Shape
		}
		var there []known // beside truth.pods
		for range 200 {
			switch k := r.IntN(10); {
			case k < 5:
				p := templates[r.IntN(len(templates))]
				p.on, p.leaving = r.Int32N(6), r.IntN(5) == 0
				id, s := p.read()
				kept.Join(id, s)
				kept.Enter(id, s, p.leaving, p.on)
				there, truth.pods = append(there, known{id, s}), append(truth.pods, p)
			case k < 7 && len(there) > 0:
				i := r.IntN(len(there))
				kept.Leave(there[i].id, there[i].s, truth.pods[i].leaving, truth.pods[i].on)
				kept.Quit(there[i].id, there[i].s)
				there, truth.pods = slices.Delete(there, i, i+1), slices.Delete(truth.pods, i, i+1)
			case k < 9:
				at := r.Int32N(6)
				if truth.nodes[at] = nil; r.IntN(4) > 0 {
					truth.nodes[at] = aNode(fmt.Sprint("n", at), map[string]string{"zone": fmt.Sprint(r.IntN(3)), "rack": fmt.Sprint(r.IntN(2))})
				}
				kept.SetNode(at, truth.nodes[at])
			default:
				name := []string{"default", "other"}[r.IntN(2)]
				truth.spaces[name] = labels.Set{"team": []string{"one", "two"}[r.IntN(2)]}
				kept.SetSpace(name, truth.spaces[name])
			}
		}
		for _, p := range templates {
			id, s := p.read()
			kept.Join(id, s)
			for at := range int32(6) {
				if truth.nodes[at] == nil {
					continue
				}
				if got, want := kept.View(id, s).Check(at), truth.check(p, at); got != want {
					t.Fatalf("seed %d: %+v on node %d: the index says %q, every pod asked %q", seed, p, at, got, want)
				}
			}
		}
	}
}

func TestAnIndexWithoutPodsHoldsNothing(t *testing.T) {
	x := zones()
	id, s := pod{labels: labels.Set{"app": "web"}, spec: apart(by("zone", choose("app", "web")))}.read()
	x.Join(id, s)
	x.Enter(id, s, false, 0)
	x.Leave(id, s, false, 0)
	x.Quit(id, s)
	if len(x.citizens)+len(x.selections)+len(x.speakers)+len(x.local)+len(x.towns) != 0 {
		t.Errorf("%d identities, %d selections, %d shapes are still held", len(x.citizens), len(x.selections), len(x.speakers))
	}
	for _, k := range x.keys {
		if len(k.tallies) != 0 {
			t.Errorf("%d counts by %s are still kept", len(k.tallies), k.name)
		}
	}
}

func TestCostsOfScheduleAnyway(t *testing.T) {
	soft := func(key string, skew int32) corev1.PodSpec {
		return spreadBy(key, skew, func(c *corev1.TopologySpreadConstraint) { c.WhenUnsatisfiable = corev1.ScheduleAnyway })
	}
	both := soft("zone", 1)
	both.TopologySpreadConstraints = append(both.TopologySpreadConstraints, soft(corev1.LabelHostname, 1).TopologySpreadConstraints...)
	web := labels.Set{"app": "web"}
	running := []pod{{labels: web, on: 0}, {labels: web, on: 0}, {labels: web, on: 1}, {labels: web, on: 2}, {labels: web, on: 3, leaving: true}}
	tests := []struct {
		name   string
		spec   corev1.PodSpec
		passed []int32
		want   []int64
	}{
		// ln(2 zones + 2) = 1.39 a pod.
		{"by zone: every pod of the zone", soft("zone", 1), []int32{0, 1, 2, 3, 4}, []int64{4, 4, 1, 1, -1}},
		{"a larger maxSkew waters the difference down", soft("zone", 5), []int32{0, 2}, []int64{8, 5}},
		// ln(1 zone + 2) = 1.1 a pod: zones without a node that passed are not looked at.
		{"only zones with nodes that passed", soft("zone", 1), []int32{2, 3}, []int64{1, 1}},
		// ln(5 nodes + 2) = 1.95 a pod.
		{"by host name: the node's own pods", soft(corev1.LabelHostname, 1), []int32{0, 1, 2, 3, 4}, []int64{4, 2, 2, 0, 0}},
		// 1.39 a pod of the zone and ln(4 nodes + 2) = 1.79 a pod of the node.
		{"both add up", both, []int32{0, 1, 2, 3, 4}, []int64{8, 6, 3, 1, -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := zones()
			for _, p := range running {
				id, s := p.read()
				x.Join(id, s)
				x.Enter(id, s, p.leaving, p.on)
			}
			id, s := pod{labels: web, spec: tt.spec}.read()
			x.Join(id, s)
			if got := x.View(id, s).Costs(tt.passed, nil); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
