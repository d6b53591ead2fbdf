package proxy

import (
	"errors"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"kubus.dev/services/proxy/internal/service"
)

// guard keeps Services from addresses that are this machine's or the cluster's own.
func guard(cfg *Config) *service.Guard {
	g := &service.Guard{Ranges: cfg.serviceCIDRs(), Listens: listens}
	if cfg.PodCIDR != "" {
		if p, err := prefix4(cfg.PodCIDR); err == nil {
			g.Ranges = append(g.Ranges, p)
		}
	}
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

// listens tells whether a program of this machine has the port, by trying to have it.
func listens(protocol string, at netip.AddrPort) bool {
	var err error
	switch protocol {
	case "tcp":
		var l *net.TCPListener
		if l, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at)); err == nil {
			err = l.Close()
		}
	case "udp":
		var c *net.UDPConn
		if c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err == nil {
			err = c.Close()
		}
	}
	return errors.Is(err, unix.EADDRINUSE)
}
