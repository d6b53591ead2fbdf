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
	ports := table.Ports(evil, "n", &Guard{})
	if got := ports[0]; !slices.Equal(got.ExternalIPs, []netip.Addr{other}) || len(got.LoadBalancerIPs) != 0 {
		t.Errorf("at the API's port: %v, %v", got.ExternalIPs, got.LoadBalancerIPs)
	}
	if got := ports[1]; !slices.Equal(got.ExternalIPs, []netip.Addr{other}) || len(got.LoadBalancerIPs) != 1 {
		t.Errorf("at another port: %v, %v", got.ExternalIPs, got.LoadBalancerIPs)
	}
	if got := table.Service(evil); len(got.ExternalIPs) != 2 {
		t.Errorf("the Service itself was changed: %v", got.ExternalIPs)
	}
}

func TestFinding10NoServiceTakesAddressesOfOthers(t *testing.T) {
	t.Parallel()
	node, world := "192.0.2.2", "203.0.113.9"
	guard := &Guard{
		Ranges:  []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("10.244.0.0/16")},
		Own:     func(a netip.Addr) bool { return a.String() == node || a.IsLoopback() },
		Listens: func(protocol string, at netip.AddrPort) bool { return protocol == "tcp" && at.Port() == 22 },
	}
	for name, tt := range map[string]struct {
		addr     string
		port     uint16
		external string // why it is refused as such; "": it is not
		balancer string
	}{
		"an address of the world":           {world, 22, "", ""},
		"loopback":                          {"127.0.0.1", 80, "it is a loopback address", "it is a loopback address"},
		"another loopback":                  {"127.0.0.53", 53, "it is a loopback address", "it is a loopback address"},
		"the cloud's metadata":              {"169.254.169.254", 80, "it is a link-local address", "it is a link-local address"},
		"a ClusterIP":                       {"10.96.0.1", 443, "it is in the range of Services or pods", "it is in the range of Services or pods"},
		"a pod":                             {"10.244.0.7", 80, "it is in the range of Services or pods", "it is in the range of Services or pods"},
		"multicast":                         {"224.0.0.251", 53, "it is no host's address", "it is no host's address"},
		"broadcast":                         {"255.255.255.255", 53, "it is no host's address", "it is no host's address"},
		"every address":                     {"0.0.0.0", 80, "it is no host's address", "it is no host's address"},
		"the node":                          {node, 80, "it is the node's address", ""},
		"a daemon of the node":              {node, 22, "it is the node's address", "a program of the node listens there"},
		"the API on another node":           {"192.0.2.3", 6443, "it is the API's address", "the API listens there"},
		"another port of the API's address": {"192.0.2.3", 80, "it is the API's address", ""},
		"another node":                      {"192.0.2.4", 80, "it is another node's address", ""},
	} {
		addr := netip.MustParseAddr(tt.addr)
		table, evil := NewTable(), Name{"a", "evil"}
		table.SetNode("other", []netip.Addr{netip.MustParseAddr("192.0.2.4")})
		table.SetService(api, &Service{Name: api, ClusterIP: netip.MustParseAddr("10.96.0.1")})
		table.SetSlice(Name{"default", "kubernetes"}, &Slice{Service: api, Ports: []SlicePort{{Name: "https", Protocol: "tcp", Number: 6443}},
			Endpoints: []Endpoint{{Addr: netip.MustParseAddr("192.0.2.3"), Ready: true, Serving: true}}})
		ports := []ServicePort{{Protocol: "tcp", Port: tt.port}}
		for want, s := range map[*string]*Service{
			&tt.external: {Name: evil, ClusterIP: netip.MustParseAddr("10.96.0.9"), Ports: ports, ExternalIPs: []netip.Addr{addr}},
			&tt.balancer: {Name: evil, ClusterIP: netip.MustParseAddr("10.96.0.9"), Ports: ports, LoadBalancerIPs: []netip.Addr{addr}},
		} {
			table.SetService(evil, s)
			p := table.Ports(evil, "n", guard)[0]
			reason := ""
			if len(p.Refused) > 0 {
				reason = p.Refused[0].Reason
			}
			if served := len(p.ExternalIPs)+len(p.LoadBalancerIPs) > 0; reason != *want || served == (reason != "") {
				t.Errorf("%s, external %v: refused as %q, want %q; served: %v", name, len(s.ExternalIPs) > 0, reason, *want, served)
			}
		}
	}
}

// What a Service has is judged anew when a node comes to an address, or leaves it.
func TestFinding10AnAddressThatANodeGetsLaterIsTheNodes(t *testing.T) {
	t.Parallel()
	addr, evil, plain := netip.MustParseAddr("192.0.2.4"), Name{"a", "evil"}, Name{"a", "plain"}
	table, ports := NewTable(), []ServicePort{{Protocol: "tcp", Port: 80}}
	table.SetService(evil, &Service{Name: evil, ClusterIP: netip.MustParseAddr("10.96.0.9"), Ports: ports, ExternalIPs: []netip.Addr{addr}})
	table.SetService(plain, &Service{Name: plain, ClusterIP: netip.MustParseAddr("10.96.0.8"), Ports: ports})
	table.TakeDirty()
	served := func() bool { return len(table.Ports(evil, "n", &Guard{})[0].ExternalIPs) == 1 }
	if !served() {
		t.Fatal("an address that is nobody's was refused")
	}
	for _, step := range []struct {
		addrs           []netip.Addr
		changed, served bool
	}{{[]netip.Addr{addr}, true, false}, {[]netip.Addr{addr}, false, false}, {nil, true, true}, {nil, false, true}} {
		changed := table.SetNode("other", step.addrs)
		if dirty := table.TakeDirty(); changed != step.changed || served() != step.served || changed != slices.Equal(dirty, []Name{evil}) {
			t.Errorf("with the node at %v: changed %v, dirty %v, served %v", step.addrs, changed, dirty, served())
		}
	}
	table.SetService(evil, nil)
	if table.TakeDirty(); table.Recheck() || table.Dirty() {
		t.Error("a Service without such addresses is judged anew")
	}
}
