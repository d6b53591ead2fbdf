package service

import (
	"net/netip"
	"slices"
)

// Guard knows which addresses are not a Service's to have, whatever its owner writes. A zero Guard knows those that are
// nobody's: loopback, link-local, multicast.
type Guard struct {
	Ranges []netip.Prefix        // of ClusterIPs and pods
	Own    func(netip.Addr) bool // is the address this machine's? nil: none is
	// Listens tells whether a program of this machine takes what comes to an address of the machine's; nil: none does.
	Listens func(protocol string, at netip.AddrPort) bool
}

// Refusal is an external or load-balancer address at which a port is not served, and why.
type Refusal struct {
	At     netip.AddrPort
	Reason string
}

// external judges an address that the Service's owner writes: it is of none that others rely on.
func (g *Guard) external(at netip.AddrPort, api []netip.AddrPort, node func(netip.Addr) bool) string {
	addr := at.Addr()
	switch {
	case slices.ContainsFunc(api, func(a netip.AddrPort) bool { return a.Addr() == addr }):
		return "it is the API's address"
	case g.own(addr):
		return "it is the node's address"
	case node(addr):
		return "it is another node's address"
	}
	return g.nobodys(addr)
}

// balancer judges an address that a provider of load balancers gives. Nodes' own are what the built-in one has to give:
// there it is the port that must be free, on the node that the packets come to.
func (g *Guard) balancer(protocol string, at netip.AddrPort, api []netip.AddrPort) string {
	switch {
	case slices.Contains(api, at):
		return "the API listens there"
	case g.own(at.Addr()) && g.Listens != nil && g.Listens(protocol, at):
		return "a program of the node listens there"
	}
	return g.nobodys(at.Addr())
}

func (g *Guard) own(addr netip.Addr) bool { return g.Own != nil && !addr.IsLoopback() && g.Own(addr) }

func (g *Guard) nobodys(addr netip.Addr) string {
	switch {
	case addr.IsLoopback():
		return "it is a loopback address"
	case addr.IsLinkLocalUnicast():
		return "it is a link-local address"
	case addr.IsMulticast(), addr.IsUnspecified(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "it is no host's address"
	case slices.ContainsFunc(g.Ranges, func(p netip.Prefix) bool { return p.Contains(addr) }):
		return "it is in the range of Services or pods"
	}
	return ""
}

// guard takes away the addresses that the port may not have.
func (p *Port) guard(g *Guard, api []netip.AddrPort, node func(netip.Addr) bool) {
	keep := func(addrs []netip.Addr, judge func(netip.AddrPort) string) []netip.Addr {
		return slices.DeleteFunc(slices.Clone(addrs), func(ip netip.Addr) bool {
			at := netip.AddrPortFrom(ip, p.Number)
			reason := judge(at)
			if reason != "" {
				p.Refused = append(p.Refused, Refusal{at, reason})
			}
			return reason != ""
		})
	}
	p.ExternalIPs = keep(p.ExternalIPs, func(at netip.AddrPort) string { return g.external(at, api, node) })
	p.LoadBalancerIPs = keep(p.LoadBalancerIPs, func(at netip.AddrPort) string { return g.balancer(p.Protocol, at, api) })
}
