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
	mtu     int
}

// Reserve takes an address for the pod; owner is unique and stable. Connect must follow, or Detach.
func (n *Network) Reserve(owner string) (*Lease, error) {
	n.mu.Lock()
	prefix, links := n.cidr, podLinks{n.gateway, n.mtu}
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

// Connect wires the calling thread's network namespace to the node; it is meant for NamespaceSpec.Inside.
func (l *Lease) Connect() error {
	inside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer inside.Close()

	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = "eth0", l.links.mtu, macOf(l.IP)
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: vethName(l.n.names, l.IP), PeerNamespace: netlink.NsFd(l.n.hostNS),
		PeerHardwareAddr: macOf(l.links.gateway)}
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
		IP: gateway.AsSlice(), HardwareAddr: macOf(gateway)}); err != nil {
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

// Plug leads the pod's address to the node's end of its link; call it in the node's namespace, after Connect.
func (l *Lease) Plug(ctx context.Context, ports []PortMapping) error {
	name := vethName(l.n.names, l.IP)
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding veth: %w", err)
	}
	if err := guard(name); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting veth up: %w", err)
	}
	index, gateway := link.Attrs().Index, l.links.gateway
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: hostNet(gateway)}); err != nil { // what is masqueraded has it
		return fmt.Errorf("setting gateway address: %w", err)
	}
	if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: l.IP.AsSlice(),
		HardwareAddr: macOf(l.IP)}); err != nil {
		return fmt.Errorf("setting pod's link address: %w", err)
	}
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: index, Dst: hostNet(l.IP), Scope: netlink.SCOPE_LINK, Src: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("adding route to the pod: %w", err)
	}
	if len(ports) == 0 {
		return nil
	}
	return l.n.ports.add(ctx, l.owner, l.IP, ports)
}

// guard sets what the node takes from a pod's link.
func guard(link string) error {
	for name, value := range map[string]string{
		"net/ipv4/conf/" + link + "/rp_filter":      "1", // only what comes from the pod's own address
		"net/ipv4/conf/" + link + "/send_redirects": "0", // a pod reaches itself through us on purpose
		"net/ipv6/conf/" + link + "/disable_ipv6":   "1", // no address of the node that no rule knows of
	} {
		if err := setSysctl(name, value); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
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
	return fmt.Sprintf("%s%02x%02x%02x%02x", n.vethPrefix(), a[0], a[1], a[2], a[3])
}
