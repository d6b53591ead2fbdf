package policytest

import (
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// World is a cluster. Objects in it are replaced, never changed.
type World struct {
	Nodes      []string
	Namespaces map[string]*corev1.Namespace
	Pods       map[string]*corev1.Pod // by namespace/name
	Policies   map[string]*networkingv1.NetworkPolicy

	rng    *rand.Rand
	number int   // of the next object
	hosts  []int // the last address given on each node
}

// Port is a port that is tried.
type Port struct {
	Protocol corev1.Protocol
	Number   int32
}

func (p Port) String() string { return fmt.Sprintf("%d/%s", p.Number, p.Protocol) }

// Ports are those that are tried; policies name others, too.
var Ports = []Port{
	{corev1.ProtocolTCP, 80}, {corev1.ProtocolTCP, 81}, {corev1.ProtocolTCP, 8080},
	{corev1.ProtocolUDP, 80}, {corev1.ProtocolUDP, 5353},
}

// Stranger is the address of who is no pod, in the network of the nodes.
const Stranger = "192.0.2.254"

// NodeAddress is that of a node, from 0.
func NodeAddress(i int) string { return fmt.Sprintf("192.0.2.%d", i+1) }

// NodeRange is where its pods have their addresses.
func NodeRange(i int) string { return fmt.Sprintf("10.244.%d.0/24", i+1) }

// Random makes a world of so many nodes and pods.
func Random(seed uint64, nodes, pods int) *World {
	w := &World{
		Namespaces: map[string]*corev1.Namespace{}, Pods: map[string]*corev1.Pod{}, Policies: map[string]*networkingv1.NetworkPolicy{},
		rng: rand.New(rand.NewPCG(seed, 19)), hosts: make([]int, nodes),
	}
	for i := range nodes {
		w.Nodes = append(w.Nodes, fmt.Sprintf("node-%d", i))
	}
	for _, name := range []string{"red", "green", "blue"} {
		w.namespace(name)
	}
	for range pods {
		w.addPod()
	}
	for range 2 + w.rng.IntN(4) {
		w.addPolicy()
	}
	return w
}

// Change does one thing to the world and says what.
func (w *World) Change() string {
	switch w.rng.IntN(8) {
	case 0:
		return "pod " + w.addPod() + " is made"
	case 1:
		if name, ok := pick(w.rng, w.Pods); ok && len(w.Pods) > 3 {
			delete(w.Pods, name)
			return "pod " + name + " goes"
		}
	case 2, 3:
		if name, ok := pick(w.rng, w.Pods); ok {
			p := w.Pods[name].DeepCopy()
			p.Labels = w.labels()
			w.Pods[name] = p
			return "pod " + name + " has other labels"
		}
	case 4:
		name, _ := pick(w.rng, w.Namespaces)
		w.namespace(name)
		return "namespace " + name + " has other labels"
	case 5:
		return "policy " + w.addPolicy() + " is made"
	case 6:
		if name, ok := pick(w.rng, w.Policies); ok {
			delete(w.Policies, name)
			return "policy " + name + " goes"
		}
	default:
		if name, ok := pick(w.rng, w.Policies); ok {
			p := w.Policies[name].DeepCopy()
			p.Spec = w.spec()
			w.Policies[name] = p
			return "policy " + name + " says something else"
		}
	}
	return "nothing happens"
}

// pick is one of a map's keys, the same for the same seed.
func pick[T any](rng *rand.Rand, m map[string]T) (string, bool) {
	if len(m) == 0 {
		return "", false
	}
	names := sorted(m)
	return names[rng.IntN(len(names))], true
}

func (w *World) namespace(name string) {
	w.Namespaces[name] = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: w.labels()}}
	w.Namespaces[name].Labels["kubernetes.io/metadata.name"] = name
}

func (w *World) next(kind string) string {
	w.number++
	return fmt.Sprintf("%s-%d", kind, w.number)
}

func (w *World) addPod() string {
	ns, _ := pick(w.rng, w.Namespaces)
	node := w.rng.IntN(len(w.Nodes))
	w.hosts[node]++
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: w.next("pod"), Labels: w.labels(), CreationTimestamp: metav1.Time{Time: time.Unix(int64(w.number), 0)}},
		Spec: corev1.PodSpec{NodeName: w.Nodes[node], Containers: []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{
			{Name: "web", Protocol: corev1.ProtocolTCP, ContainerPort: []int32{80, 81, 8080}[w.rng.IntN(3)]},
			{Name: "dns", Protocol: corev1.ProtocolUDP, ContainerPort: []int32{80, 5353}[w.rng.IntN(2)]},
		}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.244.%d.%d", node+1, w.hosts[node]+1)},
	}
	if w.rng.IntN(4) == 0 {
		p.Spec.Containers[0].Ports = nil
	}
	name := ns + "/" + p.Name
	w.Pods[name] = p
	return name
}

func (w *World) labels() map[string]string {
	out := map[string]string{}
	for _, key := range []string{"app", "tier"} {
		if v := w.rng.IntN(4); v > 0 {
			out[key] = string("abc"[v-1])
		}
	}
	return out
}

func (w *World) addPolicy() string {
	ns, _ := pick(w.rng, w.Namespaces)
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: w.next("policy")}, Spec: w.spec()}
	name := ns + "/" + p.Name
	w.Policies[name] = p
	return name
}

func (w *World) spec() networkingv1.NetworkPolicySpec {
	spec := networkingv1.NetworkPolicySpec{PodSelector: *w.selector()}
	kinds := [][]networkingv1.PolicyType{{"Ingress"}, {"Egress"}, {"Ingress", "Egress"}, nil}
	spec.PolicyTypes = kinds[w.rng.IntN(len(kinds))]
	for range w.rng.IntN(3) {
		spec.Ingress = append(spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: w.peers(), Ports: w.ports()})
	}
	for range w.rng.IntN(3) {
		spec.Egress = append(spec.Egress, networkingv1.NetworkPolicyEgressRule{To: w.peers(), Ports: w.ports()})
	}
	return spec
}

func (w *World) selector() *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	values := []string{"a", "b", "c"}
	key := []string{"app", "tier"}[w.rng.IntN(2)]
	switch w.rng.IntN(6) {
	case 0:
		s.MatchLabels = map[string]string{key: values[w.rng.IntN(3)]}
	case 1:
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOpIn, Values: values[:2]}}
	case 2:
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: values[1:]}}
	case 3:
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOpExists}}
	case 4:
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOpDoesNotExist}}
	}
	return s
}

func (w *World) peers() (out []networkingv1.NetworkPolicyPeer) {
	for range w.rng.IntN(4) {
		var p networkingv1.NetworkPolicyPeer
		switch w.rng.IntN(5) {
		case 0:
			p.PodSelector = w.selector()
		case 1:
			p.NamespaceSelector = w.selector()
		case 2:
			name, _ := pick(w.rng, w.Namespaces)
			p.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": name}}
			p.PodSelector = w.selector()
		default:
			p.IPBlock = w.block()
		}
		out = append(out, p)
	}
	return out
}

func (w *World) block() *networkingv1.IPBlock {
	node := w.rng.IntN(len(w.Nodes)) + 1
	part := fmt.Sprintf("10.244.%d.%d/29", node, 8*w.rng.IntN(2))
	one := fmt.Sprintf("10.244.%d.%d/32", node, 2+w.rng.IntN(5))
	all := []networkingv1.IPBlock{
		{CIDR: "0.0.0.0/0"},
		{CIDR: "0.0.0.0/0", Except: []string{"10.244.0.0/16"}},
		{CIDR: "10.244.0.0/16", Except: []string{part, one}},
		{CIDR: fmt.Sprintf("10.244.%d.0/24", node), Except: []string{one}},
		{CIDR: part},
		{CIDR: one},
		{CIDR: "192.0.2.0/24"},
		{CIDR: "0.0.0.0/0", Except: []string{"192.0.2.128/25"}},
		{CIDR: "2001:db8::/32"},
	}
	return &all[w.rng.IntN(len(all))]
}

func (w *World) ports() (out []networkingv1.NetworkPolicyPort) {
	for range w.rng.IntN(3) {
		var p networkingv1.NetworkPolicyPort
		if protocol := []corev1.Protocol{"", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}[w.rng.IntN(4)]; protocol != "" {
			p.Protocol = &protocol
		}
		end := int32(9000)
		switch w.rng.IntN(6) {
		case 0: // all of the protocol
		case 1:
			p.Port = &intstr.IntOrString{Type: intstr.String, StrVal: "web"}
			if w.rng.IntN(4) > 0 {
				p.Protocol = nil
			}
		case 2:
			p.Port = &intstr.IntOrString{Type: intstr.String, StrVal: "dns"}
			if udp := corev1.ProtocolUDP; w.rng.IntN(4) > 0 {
				p.Protocol = &udp
			}
		case 3:
			n := intstr.FromInt32([]int32{79, 81, 5000}[w.rng.IntN(3)])
			p.Port, p.EndPort = &n, &end
		default:
			n := intstr.FromInt32([]int32{80, 81, 8080, 5353}[w.rng.IntN(4)])
			p.Port = &n
		}
		out = append(out, p)
	}
	return out
}
