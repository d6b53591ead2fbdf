package proxy

import (
	"net"
	"net/netip"
	"sync"

	"kubus.dev/services/proxy/internal/service"
)

// guard keeps Services from addresses that are this machine's or the cluster's own.
func guard(cfg *Config) *service.Guard {
	g := &service.Guard{Ranges: cfg.serviceCIDRs()}
	if cfg.PodCIDR != "" {
		if p, err := prefix4(cfg.PodCIDR); err == nil {
			g.Ranges = append(g.Ranges, p)
		}
	}
	listening := sync.OnceValue(open)
	g.Listens = func(protocol string, at netip.AddrPort) bool { return listening().has(protocol, at) }
	own := sync.OnceValue(ownAddresses)
	g.Own = func(addr netip.Addr) bool { return own()[addr] }
	return g
}

// ownAddresses are those of this machine at the moment.
func ownAddresses() map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return out
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out[p.Addr().Unmap()] = true
		}
	}
	return out
}
