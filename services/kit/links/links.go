// Package links asks the kernel for what it knows of the network: links, addresses, routes.
//
// Promise: a list is of one moment. The kernel says when something changed while it wrote a
// list, which on a node whose pods come and go is often; then it is asked again.
package links

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// tries is how often the kernel is asked before its last word is the error.
const tries = 20

// whole asks again while the answer was interrupted by a change.
func whole[T any](list func() ([]T, error)) (out []T, err error) {
	for range tries {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return nil, err
}

// All lists the links of the thread's network namespace.
func All() ([]netlink.Link, error) { return whole(netlink.LinkList) }

// Addresses lists those of a link, or of all with nil, of a family (netlink.FAMILY_V4 or _V6).
func Addresses(link netlink.Link, family int) ([]netlink.Addr, error) {
	return whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, family) })
}

// Routes lists those of a family in the main table.
func Routes(family int) ([]netlink.Route, error) {
	return whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, family) })
}

// RoutesLike lists those that are like filter where mask says so (netlink.RT_FILTER_…).
func RoutesLike(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	return whole(func() ([]netlink.Route, error) { return netlink.RouteListFiltered(family, filter, mask) })
}

// UplinkMTU is that of the machine's way out; 1500 where there is none.
func UplinkMTU() int {
	const usual = 1500
	routes, err := Routes(netlink.FAMILY_V4)
	if err != nil {
		return usual
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil && link.Attrs().MTU > 0 {
			return link.Attrs().MTU
		}
	}
	return usual
}
