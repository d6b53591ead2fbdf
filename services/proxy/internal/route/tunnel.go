package route

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/links"
)

// Overhead is what a tunnel adds to each packet, in bytes: outer Ethernet and IPv4 headers, UDP, VXLAN.
const Overhead = 50

// port is where nodes take tunnelled packets: the kernel's own choice for VXLAN, and flannel's.
const port = 8472

// network number of a cluster's tunnels: all its nodes have the same, and two clusters of one
// machine, whose ranges differ, do not meet.
func number(cluster netip.Prefix) int {
	sum := sha256.Sum256([]byte(cluster.String()))
	return int(binary.BigEndian.Uint32(sum[:4])&0xffffff | 1)
}

// device makes the node's end of the tunnels, or makes it anew when it is another's by its settings.
func (k *Keeper) device(own *Peer) (netlink.Link, error) {
	end, mac := tunnelEnd(own.CIDR)
	mtu, err := mtuOf(own.IP)
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = k.opts.Device, mac, mtu-Overhead
	want := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: number(k.opts.Cluster), SrcAddr: own.IP.AsSlice(), Port: port, Learning: false}
	link, err := netlink.LinkByName(k.opts.Device)
	if err == nil {
		have, ok := link.(*netlink.Vxlan)
		if !ok || have.VxlanId != want.VxlanId || !have.SrcAddr.Equal(want.SrcAddr) || !bytes.Equal(have.HardwareAddr, mac) {
			if err := netlink.LinkDel(link); err != nil {
				return nil, err
			}
			link = nil
		}
	} else if link = nil; !errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, err
	}
	if link == nil {
		if err := netlink.LinkAdd(want); err != nil {
			return nil, err
		}
		if link, err = netlink.LinkByName(k.opts.Device); err != nil {
			return nil, err
		}
	}
	if link.Attrs().MTU != attrs.MTU {
		if err := netlink.LinkSetMTU(link, attrs.MTU); err != nil {
			return nil, err
		}
	}
	address := &netlink.Addr{IPNet: network(netip.PrefixFrom(end, 32))}
	if err := netlink.AddrReplace(link, address); err != nil {
		return nil, err
	}
	return link, netlink.LinkSetUp(link)
}

// mtuOf is that of the link with an address.
func mtuOf(ip netip.Addr) (int, error) {
	all, err := links.All()
	if err != nil {
		return 0, err
	}
	for _, l := range all {
		addresses, err := links.Addresses(l, netlink.FAMILY_V4)
		if err != nil {
			return 0, err
		}
		for _, a := range addresses {
			if a.IP.Equal(net.IP(ip.AsSlice())) {
				return l.Attrs().MTU, nil
			}
		}
	}
	return 0, fmt.Errorf("the node's address %s is on none of its links", ip)
}

// tunnels tells the device where the ends of the routes are: their link addresses, and the
// nodes at which those are. What it knew of others is forgotten.
func tunnels(device netlink.Link, routes []Route, peers []Peer) error {
	index := device.Attrs().Index
	nodes := map[netip.Prefix]netip.Addr{}
	for _, p := range peers {
		nodes[p.CIDR] = p.IP
	}
	wanted := map[string]netip.Addr{} // by link address
	for _, r := range routes {
		end, mac := tunnelEnd(r.CIDR)
		wanted[mac.String()] = nodes[r.CIDR]
		neighbour := &netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: end.AsSlice(), HardwareAddr: mac}
		if err := netlink.NeighSet(neighbour); err != nil {
			return fmt.Errorf("setting the link address of %s: %w", end, err)
		}
	}
	have, err := netlink.NeighList(index, unix.AF_BRIDGE)
	if err != nil {
		return fmt.Errorf("listing tunnels: %w", err)
	}
	for _, f := range have {
		to, ok := wanted[f.HardwareAddr.String()]
		if ok && f.IP.Equal(net.IP(to.AsSlice())) {
			delete(wanted, f.HardwareAddr.String())
			continue
		}
		if err := netlink.NeighDel(&f); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("removing a tunnel: %w", err)
		}
	}
	for text, to := range wanted {
		mac, _ := net.ParseMAC(text) // it was one
		entry := &netlink.Neigh{LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
			IP: to.AsSlice(), HardwareAddr: mac}
		if err := netlink.NeighSet(entry); err != nil {
			return fmt.Errorf("setting the tunnel to %s: %w", to, err)
		}
	}
	return nil
}

func removeDevice(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("removing the device of tunnels: %w", err)
	}
	return nil
}
