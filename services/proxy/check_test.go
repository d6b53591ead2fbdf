package proxy

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestACheckAnswersAboutPodsAndAddresses(t *testing.T) {
	t.Parallel()
	pod := func(namespace, name, ip string) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
			Spec:   corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, HostIP: "192.0.2.1"}}
	}
	host := pod("shop", "host", "192.0.2.1")
	host.Spec.HostNetwork = true
	w := &World{
		Nodes:      []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}}}},
		Namespaces: []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, {ObjectMeta: metav1.ObjectMeta{Name: "other"}}},
		Pods:       []corev1.Pod{pod("shop", "web", "10.0.0.1"), pod("shop", "db", "10.0.0.2"), pod("other", "probe", "10.0.0.3"), pod("shop", "new", ""), host},
		Services:   []corev1.Service{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.9"}}},
		Policies: []networkingv1.NetworkPolicy{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own"}, Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{"Ingress"},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}}}}},
	}
	for _, c := range []struct {
		from, to, port string
		allowed        bool
		says           string
	}{
		{"shop/db", "shop/web", "http", true, "ingress of shop/web: allowed by rule 0 of policy shop/own"},
		{"other/probe", "shop/web", "80", false, "no rule allows it of the policies that select pod shop/web: shop/own"},
		{"203.0.113.1", "10.0.0.2", "53/udp", false, "egress of 203.0.113.1: no pod"},
		{"shop/host", "shop/web", "80", true, "pod shop/host is on its node's network"},
		{"shop/web", "10.96.0.9", "80", true, "is the Service shop/web"},
		{"shop/web", "other/probe", "9/SCTP", true, "no policy selects pod other/probe"},
	} {
		a, err := Check(w, c.from, c.to, c.port)
		if all := strings.Join(slices.Concat(a.Reasons, a.Notes), "\n"); err != nil || a.Allowed != c.allowed || !strings.Contains(all, c.says) {
			t.Errorf("%s to %s port %s: %v, %v\n%s\nwant %v, %q", c.from, c.to, c.port, a.Allowed, err, all, c.allowed, c.says)
		}
	}
	for _, c := range [][4]string{
		{"web", "shop/db", "80", "neither an address nor a pod"},
		{"shop/none", "shop/db", "80", "there is no pod shop/none"},
		{"shop/new", "shop/db", "80", "pod shop/new has no address"},
		{"shop/web", "shop/db", "0", "neither a port"},
		{"shop/web", "203.0.113.1", "http", "neither a port"},
		{"shop/web", "shop/db", "80/icmp", "none of tcp, udp and sctp"},
	} {
		if _, err := Check(w, c[0], c[1], c[2]); err == nil || !strings.Contains(err.Error(), c[3]) {
			t.Errorf("%v: %v", c[:3], err)
		}
	}
}
