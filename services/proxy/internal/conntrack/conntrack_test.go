package conntrack

import (
	"net/netip"
	"testing"

	"kubus.dev/services/proxy/internal/service"
)

func port(endpoints ...string) service.Port {
	p := service.Port{
		Protocol: "udp", ClusterIP: netip.MustParseAddr("10.96.0.10"), Number: 53, NodePort: 30053,
		ExternalIPs: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
	}
	for _, e := range endpoints {
		p.Cluster = append(p.Cluster, netip.MustParseAddrPort(e))
	}
	return p
}

func TestAFlowIsStaleWhenItsFrontendHasNoSuchBackend(t *testing.T) {
	t.Parallel()
	tcp := port("10.244.0.9:53")
	tcp.Protocol, tcp.ClusterIP = "tcp", netip.MustParseAddr("10.96.0.11")
	f := Of([]service.Port{port("10.244.0.5:53"), tcp})
	local := func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.1") }
	for name, tc := range map[string]struct {
		to, answered string
		stale        bool
	}{
		"to the ClusterIP, answered by its backend":      {"10.96.0.10:53", "10.244.0.5:53", false},
		"to the ClusterIP, answered by one that went":    {"10.96.0.10:53", "10.244.0.6:53", true},
		"to the ClusterIP, answered by nobody's rule":    {"10.96.0.10:53", "10.96.0.10:53", true},
		"to another port of the ClusterIP":               {"10.96.0.10:54", "10.244.0.6:53", false},
		"to an external IP, answered by one that went":   {"192.0.2.53:53", "10.244.0.6:53", true},
		"to the node port of this node":                  {"192.0.2.1:30053", "10.244.0.6:53", true},
		"to the same port number of another machine":     {"198.51.100.7:30053", "198.51.100.7:30053", false},
		"to a Service over TCP, which is left to itself": {"10.96.0.11:53", "10.244.0.6:53", false},
	} {
		if got := f.Stale(netip.MustParseAddrPort(tc.to), netip.MustParseAddrPort(tc.answered), local); got != tc.stale {
			t.Errorf("%s: got %t, want %t", name, got, tc.stale)
		}
	}
}

func TestOnlyFrontendsThatMayHaveStaleFlowsAreLookedAt(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort("10.96.0.10:53")
	of := func(endpoints ...string) Frontends { return Of([]service.Port{port(endpoints...)}) }
	for name, tc := range map[string]struct {
		before, now Frontends
		all, looked bool
	}{
		"nothing changed":                   {before: of("10.244.0.5:53"), now: of("10.244.0.5:53")},
		"nothing changed, but at the start": {before: of("10.244.0.5:53"), now: of("10.244.0.5:53"), all: true, looked: true},
		"a backend more":                    {before: of("10.244.0.5:53"), now: of("10.244.0.5:53", "10.244.0.6:53")},
		"the first backend":                 {before: of(), now: of("10.244.0.5:53"), looked: true},
		"a backend less":                    {before: of("10.244.0.5:53", "10.244.0.6:53"), now: of("10.244.0.5:53"), looked: true},
		"a new frontend":                    {now: of("10.244.0.5:53"), looked: true},
		"a frontend that went":              {before: of("10.244.0.5:53"), looked: true},
	} {
		f := Frontends{}
		f.Changed(tc.before, tc.now, tc.all)
		if _, looked := f[at]; looked != tc.looked {
			t.Errorf("%s: looked at %t, want %t", name, looked, tc.looked)
		}
	}
}
