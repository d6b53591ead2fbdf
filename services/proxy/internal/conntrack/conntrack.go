// Package conntrack forgets UDP flows that lead nowhere any more. A UDP client
// that keeps its source port would otherwise be sent to an endpoint that is gone
// for as long as it goes on talking; TCP notices by itself.
package conntrack

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/links"
	"kubus.dev/services/proxy/internal/service"
)

// Frontends are the UDP addresses of Services and the backends each may have.
// A node port has an invalid address: any of this node's.
type Frontends map[netip.AddrPort]map[netip.AddrPort]struct{}

// Of gives the UDP frontends of some Services' ports. A frontend without
// backends is there too, with an empty set.
func Of(ports []service.Port) Frontends {
	f := Frontends{}
	for i := range ports {
		if ports[i].Protocol == "udp" {
			f.add(&ports[i])
		}
	}
	return f
}

func (f Frontends) add(p *service.Port) {
	backends := map[netip.AddrPort]struct{}{}
	for _, at := range p.Cluster {
		backends[at] = struct{}{}
	}
	for _, at := range p.Local {
		backends[at] = struct{}{}
	}
	f[netip.AddrPortFrom(p.ClusterIP, p.Number)] = backends
	for _, ip := range p.ExternalIPs {
		f[netip.AddrPortFrom(ip, p.Number)] = backends
	}
	for _, ip := range p.LoadBalancerIPs {
		f[netip.AddrPortFrom(ip, p.Number)] = backends
	}
	if p.NodePort != 0 {
		f[netip.AddrPortFrom(netip.Addr{}, p.NodePort)] = backends
	}
}

// Stale tells whether a flow that was sent to the frontend to is answered by
// something that is none of its backends.
func (f Frontends) Stale(to, answered netip.AddrPort, local func(netip.Addr) bool) bool {
	backends, ours := f[to]
	if !ours {
		backends, ours = f[netip.AddrPortFrom(netip.Addr{}, to.Port())]
		ours = ours && local(to.Addr())
	}
	if !ours {
		return false
	}
	_, ok := backends[answered]
	return !ok
}

// Clean removes the stale flows of the calling thread's network namespace and
// says how many there were.
func Clean(f Frontends) (int, error) {
	if len(f) == 0 {
		return 0, nil
	}
	local, err := localAddresses()
	if err != nil {
		return 0, err
	}
	n, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter{f, local})
	if err != nil {
		return int(n), fmt.Errorf("deleting UDP flows: %w", err)
	}
	return int(n), nil
}

type filter struct {
	frontends Frontends
	local     map[netip.Addr]struct{}
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, ok1 := netip.AddrFromSlice(flow.Forward.DstIP)
	from, ok2 := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !ok1 || !ok2 {
		return false
	}
	return f.frontends.Stale(
		netip.AddrPortFrom(to.Unmap(), flow.Forward.DstPort),
		netip.AddrPortFrom(from.Unmap(), flow.Reverse.SrcPort),
		func(a netip.Addr) bool { _, ok := f.local[a]; return ok })
}

func localAddresses() (map[netip.Addr]struct{}, error) {
	list, err := links.Addresses(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing this node's addresses: %w", err)
	}
	out := map[netip.Addr]struct{}{}
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			out[addr.Unmap()] = struct{}{}
		}
	}
	return out, nil
}

// Changed adds to f the frontends whose flows may have become stale between two
// states of one Service: new frontends, and those that lost a backend or got
// their first. With all, every frontend of now.
func (f Frontends) Changed(before, now Frontends, all bool) {
	for at, backends := range now {
		old, known := before[at]
		if all || !known || len(old) == 0 && len(backends) > 0 || lost(old, backends) {
			f[at] = backends
		}
	}
	for at := range before {
		_, still := now[at]
		if _, others := f[at]; !still && !others {
			f[at] = nil // whoever still speaks to it starts anew
		}
	}
}

func lost(before, now map[netip.AddrPort]struct{}) bool {
	for at := range before {
		if _, still := now[at]; !still {
			return true
		}
	}
	return false
}
