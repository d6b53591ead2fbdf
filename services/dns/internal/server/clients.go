package server

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Clients tells who may ask: this machine, who is in the cluster's ranges, and nodes. Everybody else is a stranger, for
// whom the server is not there. It is safe for concurrent use.
type Clients struct {
	ranges []netip.Prefix
	own    atomic.Pointer[ownAddresses]
	nodes  atomic.Pointer[map[netip.Addr]struct{}]

	mu       sync.Mutex // guards what follows, and one look at the interfaces at a time
	bySource map[string][]netip.Addr
}

// ownAddresses are the machine's as they were at a time.
type ownAddresses struct {
	addrs []netip.Addr
	at    time.Time
}

// lookAgain is how long the machine's addresses are taken to be what they were, lest strangers keep us looking.
const lookAgain = time.Second

// NewClients gives those of the ranges and of this machine.
func NewClients(ranges []netip.Prefix) *Clients {
	c := &Clients{ranges: ranges, bySource: map[string][]netip.Addr{}}
	c.own.Store(&ownAddresses{})
	c.nodes.Store(&map[netip.Addr]struct{}{})
	return c
}

// SetNodes replaces the nodes that a source knows; none forgets the source.
func (c *Clients) SetNodes(source string, addrs []netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(addrs) == 0 {
		delete(c.bySource, source)
	} else {
		c.bySource[source] = addrs
	}
	all := map[netip.Addr]struct{}{}
	for list := range maps.Values(c.bySource) {
		for _, a := range list {
			all[a] = struct{}{}
		}
	}
	c.nodes.Store(&all)
}

// Allow tells whether the address is a client's.
func (c *Clients) Allow(addr netip.Addr) bool {
	addr = addr.Unmap()
	if addr.IsLoopback() || slices.ContainsFunc(c.ranges, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return true
	}
	if _, node := (*c.nodes.Load())[addr]; node {
		return true
	}
	return slices.Contains(c.machine(addr), addr)
}

// machine gives the machine's addresses, read anew when they lack the one that is asked for.
func (c *Clients) machine(wanted netip.Addr) []netip.Addr {
	known := c.own.Load()
	if slices.Contains(known.addrs, wanted) || time.Since(known.at) < lookAgain {
		return known.addrs
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known = c.own.Load(); time.Since(known.at) < lookAgain {
		return known.addrs
	}
	fresh := &ownAddresses{at: time.Now()}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return known.addrs
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			fresh.addrs = append(fresh.addrs, p.Addr().Unmap())
		}
	}
	c.own.Store(fresh)
	return fresh.addrs
}
