package route

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Peer is what is to be known of a node.
type Peer struct {
	Name string
	IP   netip.Addr   // its InternalIP
	CIDR netip.Prefix // of its pods
}

// FromObject gives what a node's object says; nil while it lacks an address or a pod
// range, as it does at first.
func FromObject(n *corev1.Node) *Peer {
	cidr, err := netip.ParsePrefix(n.Spec.PodCIDR)
	if err != nil || !cidr.Addr().Is4() {
		return nil
	}
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP && ip.Is4() {
			return &Peer{Name: n.Name, IP: ip, CIDR: cidr.Masked()}
		}
	}
	return nil
}

// Path is how a packet leaves this node for an address.
type Path struct {
	Via  netip.Addr // the next hop; invalid: the address itself is on the link
	Link int
}

// Route is a line of the kernel's table.
type Route struct {
	CIDR netip.Prefix
	Via  netip.Addr
	Link int
}

// Plan gives the routes to the pods of all peers but own, ordered by range. paths says how
// the peers' addresses are reached; one that cannot be reached has no route. Ranges outside
// of the cluster's, and those that overlap own's or an earlier peer's, are nobody's to claim.
func Plan(cluster netip.Prefix, own *Peer, peers []Peer, paths func(netip.Addr) (Path, bool)) []Route {
	peers = slices.Clone(peers)
	slices.SortFunc(peers, func(a, b Peer) int {
		if c := a.CIDR.Addr().Compare(b.CIDR.Addr()); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	var taken []netip.Prefix
	if own != nil {
		taken = append(taken, own.CIDR)
	}
	var routes []Route
	for _, p := range peers {
		if own != nil && p.Name == own.Name || !within(cluster, p.CIDR) || slices.ContainsFunc(taken, p.CIDR.Overlaps) {
			continue
		}
		taken = append(taken, p.CIDR)
		path, ok := paths(p.IP)
		if !ok {
			continue
		}
		via := path.Via
		if !via.IsValid() {
			via = p.IP
		}
		routes = append(routes, Route{CIDR: p.CIDR, Via: via, Link: path.Link})
	}
	return routes
}

func within(outer, inner netip.Prefix) bool {
	return outer.IsValid() && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// differences tells what to remove and what to set, so that have becomes want.
func differences(have, want []Route) (remove, set []Route) {
	for _, r := range have {
		if !slices.ContainsFunc(want, func(w Route) bool { return w.CIDR == r.CIDR }) {
			remove = append(remove, r)
		}
	}
	for _, r := range want {
		if !slices.Contains(have, r) {
			set = append(set, r)
		}
	}
	return remove, set
}

// tunnelEnd is a node's end of the tunnels: the first address of its pods' range, which no
// pod gets, and a link address made of it.
func tunnelEnd(cidr netip.Prefix) (netip.Addr, net.HardwareAddr) {
	a := cidr.Masked().Addr().As4()
	return cidr.Masked().Addr(), net.HardwareAddr{0x0a, 0x59, a[0], a[1], a[2], a[3]}
}
