package service

import (
	"net/netip"
	"slices"
	"testing"
)

func TestNoServiceTakesTheAddressOfTheAPI(t *testing.T) {
	t.Parallel()
	node, other := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	evil := Name{"a", "evil"}
	table := NewTable()
	table.SetService(api, &Service{Name: api, ClusterIP: netip.MustParseAddr("10.96.0.1"), Ports: []ServicePort{{Name: "https", Protocol: "tcp", Port: 443}}})
	table.SetService(evil, &Service{Name: evil, ClusterIP: netip.MustParseAddr("10.96.0.9"), ExternalIPs: []netip.Addr{node, other}, LoadBalancerIPs: []netip.Addr{node},
		Ports: []ServicePort{{Name: "api", Protocol: "tcp", Port: 6443}, {Name: "web", Protocol: "tcp", Port: 80}}})
	table.TakeDirty()
	table.SetSlice(Name{"default", "kubernetes"}, &Slice{Service: api, Ports: []SlicePort{{Name: "https", Protocol: "tcp", Number: 6443}}, Endpoints: []Endpoint{{Addr: node, Ready: true, Serving: true}}})
	if dirty := table.TakeDirty(); !slices.Contains(dirty, evil) {
		t.Errorf("when the API moves, %v change", dirty)
	}
	ports := table.Ports(evil, "n")
	if got := ports[0]; !slices.Equal(got.ExternalIPs, []netip.Addr{other}) || len(got.LoadBalancerIPs) != 0 {
		t.Errorf("at the API's port: %v, %v", got.ExternalIPs, got.LoadBalancerIPs)
	}
	if got := ports[1]; len(got.ExternalIPs) != 2 || len(got.LoadBalancerIPs) != 1 {
		t.Errorf("at another port: %v, %v", got.ExternalIPs, got.LoadBalancerIPs)
	}
	if got := table.Service(evil); len(got.ExternalIPs) != 2 {
		t.Errorf("the Service itself was changed: %v", got.ExternalIPs)
	}
}
