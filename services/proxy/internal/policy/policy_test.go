package policy

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// shop is a cluster of pods web and db of namespace shop, on node n1, and of probe in namespace
// other, on n2.
func shop(t *testing.T) *Cluster {
	t.Helper()
	c := NewCluster()
	c.SetNode("n1", []netip.Addr{netip.MustParseAddr("192.0.2.1")})
	c.SetNode("n2", []netip.Addr{netip.MustParseAddr("192.0.2.2")})
	for _, ns := range []string{"shop", "other"} {
		c.SetNamespace(ns, labels.Set{"name": ns}, true)
	}
	for _, p := range []*Pod{
		{Name: Name{"shop", "web"}, Labels: labels.Set{"app": "web"}, Node: "n1", Addr: netip.MustParseAddr("10.0.1.1"),
			Ports: []PodPort{{"http", TCP, 8080}, {"metrics", TCP, 9100}}},
		{Name: Name{"shop", "db"}, Labels: labels.Set{"app": "db"}, Node: "n1", Addr: netip.MustParseAddr("10.0.1.2")},
		{Name: Name{"other", "probe"}, Labels: labels.Set{"app": "probe"}, Node: "n2", Addr: netip.MustParseAddr("10.0.2.1"),
			Ports: []PodPort{{"http", TCP, 81}}},
	} {
		c.SetPod(p.Name, p)
	}
	return c
}

func (c *Cluster) say(t *testing.T, name, spec string) {
	t.Helper()
	obj := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	if err := yaml.UnmarshalStrict([]byte(spec), &obj.Spec); err != nil {
		t.Fatal(err)
	}
	p, problems := FromObject(obj)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	c.SetPolicy(p.Name, p)
}

func TestWhatAPolicyMeans(t *testing.T) {
	t.Parallel()
	const web, db, probe, stranger, node1, node2 = "10.0.1.1", "10.0.1.2", "10.0.2.1", "203.0.113.7", "192.0.2.1", "192.0.2.2"
	type try struct {
		from, to string
		protocol Protocol
		port     uint16
		want     bool
	}
	for name, c := range map[string]struct {
		spec  string
		tries []try
	}{
		"a policy without rules denies all to the pods that it selects, and nothing else": {
			"{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}", []try{
				{db, web, TCP, 80, false}, {stranger, web, UDP, 53, false}, {web, db, TCP, 80, true}, {db, probe, TCP, 80, true},
			}},
		"an empty selector selects all pods of the namespace": {
			"{podSelector: {}, policyTypes: [Ingress]}", []try{{web, db, TCP, 80, false}, {probe, web, TCP, 80, false}, {web, probe, TCP, 80, true}}},
		"a rule without peers and ports allows everybody": {
			"{podSelector: {}, ingress: [{}]}", []try{{stranger, web, TCP, 80, true}, {probe, db, SCTP, 7, true}}},
		"types that are not said are ingress, and egress where there are such rules": {
			"{podSelector: {matchLabels: {app: web}}, egress: [{to: [{podSelector: {}}]}]}", []try{
				{db, web, TCP, 80, false}, {web, db, TCP, 80, true}, {web, probe, TCP, 80, false}, {web, stranger, TCP, 80, false},
			}},
		"a pod selector alone is of the policy's own namespace": {
			"{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}]}]}", []try{{db, web, TCP, 80, true}, {probe, web, TCP, 80, false}}},
		"a namespace selector alone is of all its pods": {
			"{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {name: other}}}]}]}", []try{{probe, web, TCP, 80, true}, {db, web, TCP, 80, false}}},
		"both in one peer are both": {
			"{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: probe}}}]}]}", []try{{probe, web, TCP, 80, true}, {db, web, TCP, 80, false}}},
		"a block is what its exceptions leave": {
			"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/29]}}]}]}", []try{{stranger, web, TCP, 80, false}, {"203.0.113.8", web, TCP, 80, true}}},
		"a block holds pods' addresses, too": {
			"{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.2.0/24}}]}]}", []try{{web, probe, TCP, 80, true}, {web, db, TCP, 80, false}}},
		"a port without protocol is TCP": {
			"{podSelector: {}, ingress: [{ports: [{port: 80}]}]}", []try{{db, web, TCP, 80, true}, {db, web, UDP, 80, false}, {db, web, TCP, 81, false}}},
		"a protocol without port is all of its ports": {
			"{podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}", []try{{db, web, UDP, 1, true}, {db, web, UDP, 65535, true}, {db, web, TCP, 1, false}}},
		"a range has both its ends": {
			"{podSelector: {}, ingress: [{ports: [{protocol: SCTP, port: 80, endPort: 82}]}]}", []try{
				{db, web, SCTP, 79, false}, {db, web, SCTP, 80, true}, {db, web, SCTP, 82, true}, {db, web, SCTP, 83, false},
			}},
		"a name is the number that the receiving pod gives it": {
			"{podSelector: {}, ingress: [{ports: [{port: http}]}]}", []try{{db, web, TCP, 8080, true}, {db, web, TCP, 9100, false}, {db, web, UDP, 8080, false}, {web, db, TCP, 8080, false}}},
		"also for what a pod sends": {
			"{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}", []try{{db, probe, TCP, 81, true}, {db, web, TCP, 8080, true}, {db, web, TCP, 81, false}, {db, stranger, TCP, 81, false}}},
		"a pod reaches itself, and its node, and the node it": {
			"{podSelector: {}, policyTypes: [Ingress, Egress]}", []try{
				{web, web, TCP, 80, true}, {web, node1, TCP, 80, true}, {node1, web, TCP, 80, true}, {web, node2, TCP, 80, false}, {node2, web, TCP, 80, false},
			}},
	} {
		cluster := shop(t)
		cluster.say(t, "p", c.spec)
		for _, try := range c.tries {
			d := cluster.Decide(cluster.End(netip.MustParseAddr(try.from)), cluster.End(netip.MustParseAddr(try.to)), try.protocol, try.port)
			if d.Allowed != try.want {
				t.Errorf("%s: %s to %s port %d/%s: allowed is %v, want %v (%s)", name, try.from, try.to, try.port, try.protocol, d.Allowed, try.want, c.spec)
			}
		}
	}
}

func TestADecisionNamesTheRule(t *testing.T) {
	t.Parallel()
	c := shop(t)
	c.say(t, "deny", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
	c.say(t, "allow", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 1}]}, {from: [{podSelector: {}}]}]}")
	d := c.Decide(c.End(netip.MustParseAddr("10.0.1.2")), c.End(netip.MustParseAddr("10.0.1.1")), TCP, 80)
	if want := "allowed by rule 1 of policy shop/allow"; d.Verdict[Ingress].String() != want {
		t.Errorf("got %q, want %q", d.Verdict[Ingress], want)
	}
	if want := "no rule allows it of the policies that select pod shop/db: shop/deny"; d.Allowed || d.Verdict[Egress].String() != want {
		t.Errorf("got %v, %q, want %q", d.Allowed, d.Verdict[Egress], want)
	}
	d = c.Decide(c.End(netip.MustParseAddr("203.0.113.7")), c.End(netip.MustParseAddr("10.0.2.1")), TCP, 80)
	if d.Verdict[Ingress].String() != "no policy selects pod other/probe" || d.Verdict[Egress].String() != "no pod" {
		t.Errorf("got %q, %q", d.Verdict[Ingress], d.Verdict[Egress])
	}
}

func TestWhatCannotBeReadAllowsNothing(t *testing.T) {
	t.Parallel()
	obj := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "odd"}}
	odd := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
	none := corev1.Protocol("ICMP")
	obj.Spec.PodSelector = odd
	obj.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{
		{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &odd}, {NamespaceSelector: &odd}, {}, {IPBlock: &networkingv1.IPBlock{CIDR: "all"}}, {IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"some"}}}}},
		{Ports: []networkingv1.NetworkPolicyPort{{Protocol: &none}}},
	}
	p, problems := FromObject(obj)
	if len(problems) != 7 {
		t.Errorf("problems: %v", problems)
	}
	c := shop(t)
	c.SetPolicy(p.Name, p)
	if d := c.Decide(c.End(netip.MustParseAddr("10.0.2.1")), c.End(netip.MustParseAddr("10.0.1.1")), TCP, 80); d.Allowed {
		t.Errorf("it is allowed: %+v", d)
	}
}

func TestWhichPodsHaveAnAddress(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	pod := func(change func(*corev1.Pod)) *Pod {
		obj := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b"}, Spec: corev1.PodSpec{NodeName: "n",
			InitContainers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "init", ContainerPort: 1}}}, {RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "side", ContainerPort: 2}}}},
			Containers:     []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "u", Protocol: "UDP", ContainerPort: 3}, {ContainerPort: 4}}}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"}}
		change(obj)
		return FromPod(obj)
	}
	p := pod(func(p *corev1.Pod) { now := metav1.NewTime(time.Unix(1, 0)); p.DeletionTimestamp = &now })
	if p == nil || p.Addr.String() != "10.0.0.1" || p.Node != "n" {
		t.Fatalf("a pod that is ending: %+v", p)
	}
	if n, ok := p.Port("side", TCP); !ok || n != 2 {
		t.Error("the port of a sidecar has no name")
	}
	if n, ok := p.Port("u", UDP); !ok || n != 3 || len(p.Ports) != 2 {
		t.Errorf("ports: %+v", p.Ports)
	}
	for what, change := range map[string]func(*corev1.Pod){
		"on the node's network": func(p *corev1.Pod) { p.Spec.HostNetwork = true },
		"that is over":          func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded },
		"that failed":           func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed },
		"without an address":    func(p *corev1.Pod) { p.Status.PodIP = "" },
		"of the other family":   func(p *corev1.Pod) { p.Status.PodIP = "2001:db8::1" },
	} {
		if p := pod(change); p != nil {
			t.Errorf("a pod %s: %s", what, strings.TrimSpace(p.Addr.String()))
		}
	}
}
