package gateway

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
)

// Finding 4: the DNS's key could lead any Service's traffic elsewhere.
func TestFinding4TheDNSWritesNothingButItsOwn(t *testing.T) {
	g := start(t)
	dns := g.as(proto.DNSUser)
	const services, slices = "/api/v1/namespaces/kube-system/services", "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"
	slice := func(name, of string) string {
		return `{"metadata":{"name":"` + name + `","labels":{"kubernetes.io/service-name":"` + of + `"}},"addressType":"IPv4","endpoints":[{"addresses":["192.0.2.66"]}]}`
	}
	must[corev1.Service](t, dns, "POST", services, `{"metadata":{"name":"kube-dns"},"spec":{"ports":[{"port":53}]}}`)
	must[discoveryv1.EndpointSlice](t, dns, "POST", slices, slice("kube-dns-a", "kube-dns"))
	must[discoveryv1.EndpointSlice](t, dns, "PUT", slices+"/kube-dns-a", slice("kube-dns-a", "kube-dns"))
	const refused = "writes its own Service and EndpointSlices only"
	dns.fails(t, metav1.StatusReasonForbidden, refused, "POST", services, `{"metadata":{"name":"metrics-server"},"spec":{"ports":[{"port":53}]}}`)
	dns.fails(t, metav1.StatusReasonForbidden, refused, "POST", slices, slice("kube-dns-b", "metrics-server"))
	dns.fails(t, metav1.StatusReasonForbidden, refused, "PUT", slices+"/kube-dns-a", slice("kube-dns-a", "metrics-server"))
	must[discoveryv1.EndpointSlice](t, g, "POST", slices, slice("metrics-server-a", "metrics-server"))
	dns.fails(t, metav1.StatusReasonForbidden, refused, "PUT", slices+"/metrics-server-a", slice("metrics-server-a", "metrics-server"))
}
