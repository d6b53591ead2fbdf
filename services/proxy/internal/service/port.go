package service

import (
	"net/netip"
	"slices"
	"time"
)

// Port is one port of one Service as a node sees it: the addresses packets may
// be sent to, and the backends they may reach.
type Port struct {
	Service  Name
	Name     string // spec.ports[].name
	Protocol string

	ClusterIP       netip.Addr
	Number          uint16
	NodePort        uint16
	ExternalIPs     []netip.Addr
	LoadBalancerIPs []netip.Addr
	Refused         []Refusal      // of what the Service says, what the port may not have
	SourceRanges    []netip.Prefix // nil: everybody
	Affinity        time.Duration
	InternalLocal   bool
	ExternalLocal   bool

	// Cluster and Local are sorted and without duplicates. Local holds only this
	// node's, and only when a policy asks for it.
	Cluster []netip.AddrPort
	Local   []netip.AddrPort
	// Hairpins are endpoints that may meet their own packets here.
	Hairpins []netip.Addr
}

// External tells whether anything but the ClusterIP leads to the port.
func (p *Port) External() bool {
	return p.NodePort != 0 || len(p.ExternalIPs) > 0 || len(p.LoadBalancerIPs) > 0
}

func (p *Port) String() string {
	s := p.Service.String()
	if p.Name != "" {
		s += ":" + p.Name
	}
	return s
}

// Ports is what node must do for s, given all slices that name s. It does not
// change its arguments and its result shares no endpoint memory with them.
func Ports(s *Service, slicesOf []*Slice, node string) []Port {
	if s == nil {
		return nil
	}
	out := make([]Port, 0, len(s.Ports))
	for _, sp := range s.Ports {
		p := Port{
			Service: s.Name, Name: sp.Name, Protocol: sp.Protocol,
			ClusterIP: s.ClusterIP, Number: sp.Port, NodePort: sp.NodePort,
			ExternalIPs: s.ExternalIPs, LoadBalancerIPs: s.LoadBalancerIPs, SourceRanges: s.SourceRanges,
			Affinity: s.Affinity, InternalLocal: s.InternalLocal,
		}
		p.ExternalLocal = s.ExternalLocal && p.External()
		p.choose(backends(sp, slicesOf), node)
		out = append(out, p)
	}
	return out
}

// backend is an endpoint at a port's number.
type backend struct {
	Endpoint
	at netip.AddrPort
}

// backends collects the endpoints of one port over all slices. An address that
// stands in two slices counts once, in its better state, since slices are
// rewritten one after another.
func backends(sp ServicePort, slicesOf []*Slice) []backend {
	var out []backend
	for _, slice := range slicesOf {
		for _, port := range slice.Ports {
			if port.Name != sp.Name || port.Protocol != sp.Protocol {
				continue
			}
			for _, e := range slice.Endpoints {
				out = append(out, backend{e, netip.AddrPortFrom(e.Addr, port.Number)})
			}
		}
	}
	slices.SortFunc(out, func(a, b backend) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return b.rank() - a.rank()
	})
	return slices.CompactFunc(out, func(a, b backend) bool { return a.at == b.at })
}

func (b *backend) rank() int {
	switch {
	case b.Ready:
		return 2
	case b.Serving && b.Terminating:
		return 1
	}
	return 0
}

// choose picks the ready backends, and where there is none at all the ones that
// still serve while they terminate, so that the last pod of a Service drains.
func (p *Port) choose(all []backend, node string) {
	local := func(b *backend) bool { return b.Node == node }
	p.Cluster = usable(all, func(*backend) bool { return true })
	if p.InternalLocal || p.ExternalLocal {
		p.Local = usable(all, local)
	}
	for i := range all {
		if b := &all[i]; b.rank() > 0 && (b.Node == "" || local(b)) {
			p.Hairpins = append(p.Hairpins, b.Addr)
		}
	}
	p.Hairpins = slices.Compact(p.Hairpins)
}

func usable(all []backend, in func(*backend) bool) []netip.AddrPort {
	for _, rank := range []int{2, 1} {
		var out []netip.AddrPort
		for i := range all {
			if b := &all[i]; b.rank() == rank && in(b) {
				out = append(out, b.at)
			}
		}
		if out != nil {
			return out
		}
	}
	return nil
}
