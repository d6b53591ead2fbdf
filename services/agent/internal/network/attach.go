package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PortMapping makes a pod's port reachable on the node.
type PortMapping struct {
	Protocol      string `json:"protocol"` // "tcp", "udp" or "sctp"
	HostIP        string `json:"hostIP,omitempty"`
	HostPort      uint16 `json:"hostPort"`
	ContainerPort uint16 `json:"containerPort"`
}

// Lease is a pod's address, held until Detach.
type Lease struct {
	IP    netip.Addr
	owner string
	n     *Network
	links podLinks
}

type podLinks struct {
	gateway netip.Addr
	bridge  int
	mac     net.HardwareAddr
	mtu     int
}

// Reserve takes an address for the pod; owner is unique and stable. Connect must follow, or Detach.
func (n *Network) Reserve(owner string) (*Lease, error) {
	n.mu.Lock()
	prefix, links := n.cidr, podLinks{n.gateway, n.bridge, n.mac, n.mtu}
	n.mu.Unlock()
	if !prefix.IsValid() {
		return nil, ErrNotReady
	}
	ip, err := n.leases.take(owner, prefix)
	if err != nil {
		return nil, err
	}
	return &Lease{IP: ip, owner: owner, n: n, links: links}, nil
}

// Connect wires the calling thread's network namespace to the bridge; it is meant for NamespaceSpec.Inside.
func (l *Lease) Connect() error {
	inside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer inside.Close()

	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = "eth0", l.links.mtu, macOf(l.IP)
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: vethName(l.n.names, l.IP), PeerNamespace: netlink.NsFd(l.n.hostNS)}
	if err := inside.LinkAdd(veth); err != nil {
		return fmt.Errorf("making veth: %w", err)
	}
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return err
	}
	lo, err := inside.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := inside.AddrAdd(eth0, &netlink.Addr{IPNet: hostNet(l.IP)}); err != nil {
		return fmt.Errorf("setting pod address: %w", err)
	}
	for _, link := range []netlink.Link{lo, eth0} {
		if err := inside.LinkSetUp(link); err != nil {
			return fmt.Errorf("setting %s up: %w", link.Attrs().Name, err)
		}
	}
	gateway := l.links.gateway
	if err := inside.NeighSet(&netlink.Neigh{LinkIndex: eth0.Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: gateway.AsSlice(), HardwareAddr: l.links.mac}); err != nil {
		return fmt.Errorf("setting gateway's link address: %w", err)
	}
	for _, route := range []*netlink.Route{
		{LinkIndex: eth0.Attrs().Index, Dst: hostNet(gateway), Scope: netlink.SCOPE_LINK},
		{LinkIndex: eth0.Attrs().Index, Gw: gateway.AsSlice()},
	} {
		if err := inside.RouteAdd(route); err != nil {
			return fmt.Errorf("adding route: %w", err)
		}
	}
	return nil
}

// Plug connects the node's end of the pod's link to the bridge; call it in the node's namespace, after Connect.
func (l *Lease) Plug(ctx context.Context, ports []PortMapping) error {
	link, err := netlink.LinkByName(vethName(l.n.names, l.IP))
	if err != nil {
		return fmt.Errorf("finding veth: %w", err)
	}
	if err := netlink.LinkSetMasterByIndex(link, l.links.bridge); err != nil {
		return fmt.Errorf("connecting veth to the bridge: %w", err)
	}
	// A Service may send a pod's packets back to the pod. Where the bridge asks iptables
	// (bridge-nf-call-iptables), it turns them round itself and must be allowed to.
	if err := netlink.LinkSetHairpin(link, true); err != nil {
		return fmt.Errorf("setting veth to hairpin: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting veth up: %w", err)
	}
	if len(ports) == 0 {
		return nil
	}
	return l.n.ports.add(ctx, l.owner, l.IP, ports)
}

// Detach gives the owner's address and ports back and removes the node's end of its link. It may be called twice.
func (n *Network) Detach(ctx context.Context, owner string, ip netip.Addr) error {
	err := n.ports.remove(ctx, owner)
	if ip.IsValid() {
		if link, lerr := netlink.LinkByName(vethName(n.names, ip)); lerr == nil {
			if lerr = netlink.LinkDel(link); lerr != nil && !errors.Is(lerr, unix.ENODEV) {
				err = errors.Join(err, fmt.Errorf("removing veth: %w", lerr))
			}
		}
	}
	return errors.Join(err, n.leases.release(owner))
}

// Keep gives back what belongs to none of the owners: called once after a restart.
func (n *Network) Keep(ctx context.Context, owners map[string]netip.Addr) error {
	var errs error
	for _, owner := range n.leases.all() {
		if _, ok := owners[owner]; !ok {
			errs = errors.Join(errs, n.Detach(ctx, owner, netip.Addr{}))
		}
	}
	return errors.Join(errs, n.ports.keep(ctx, owners))
}

func hostNet(ip netip.Addr) *net.IPNet {
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

// vethName is the node's end of a pod's link: "kv", five digits of the instance, the address in hex.
func vethName(n Names, ip netip.Addr) string {
	a := ip.As4()
	return fmt.Sprintf("kv%s%02x%02x%02x%02x", n.Hash[:5], a[0], a[1], a[2], a[3])
}
