package provider

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func aNode(name, ip string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}, {Type: corev1.NodeHostName, Address: name}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	for _, c := range change {
		c(n)
	}
	return n
}

func aService(name string, age time.Duration, ports ...int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", CreationTimestamp: metav1.NewTime(time.Unix(1700000000, 0).Add(-age))}}
	s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: p, Protocol: corev1.ProtocolTCP})
	}
	return s
}

func ips(b Balancer) string {
	var out []string
	for _, i := range b.Ingress {
		out = append(out, i.IP)
	}
	return strings.Join(out, " ")
}

func TestBalanceTakesTheReadyNodes(t *testing.T) {
	nodes := []*corev1.Node{
		aNode("b", "10.0.0.2"), aNode("a", "10.0.0.1"),
		aNode("down", "10.0.0.3", func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }),
		aNode("excluded", "10.0.0.4", func(n *corev1.Node) { n.Labels[corev1.LabelNodeExcludeBalancers] = "" }),
		aNode("outside", "10.0.0.5", func(n *corev1.Node) {
			n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "192.0.2.5"})
		}),
		aNode("v6", "fd00::1"),
	}
	got, err := Local{}.Balance(t.Context(), []*corev1.Service{aService("web", 0, 80)}, nodes)
	if err != nil {
		t.Fatal(err)
	}
	if want := "10.0.0.1 10.0.0.2 192.0.2.5"; ips(got[0]) != want {
		t.Errorf("got %q, want %q", ips(got[0]), want)
	}
}

func TestAPortBelongsToTheOldestService(t *testing.T) {
	nodes := []*corev1.Node{aNode("a", "10.0.0.1")}
	services := []*corev1.Service{aService("young", 0, 443, 80), aService("old", time.Hour, 80), aService("other", -time.Hour, 443)}
	got, err := Local{}.Balance(t.Context(), services, nodes)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Ingress != nil || got[0].Refusal != "port 80/TCP of the nodes belongs to Service default/old" {
		t.Errorf("the younger one got %+v", got[0])
	}
	if ips(got[1]) != "10.0.0.1" || ips(got[2]) != "10.0.0.1" {
		t.Errorf("the others got %+v and %+v", got[1], got[2])
	}
}

func TestInstanceTakesTheNodesOwnLocationFirst(t *testing.T) {
	l := Local{Default: Location{Region: "r", Zone: "z"}, Nodes: map[string]Location{"a": {Zone: "za"}}}
	for name, want := range map[string]Instance{"a": {Region: "r", Zone: "za"}, "b": {Region: "r", Zone: "z"}} {
		got, err := l.Instance(t.Context(), aNode(name, "10.0.0.1"))
		if err != nil || got.Region != want.Region || got.Zone != want.Zone || got.Addresses != nil {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
	}
}
