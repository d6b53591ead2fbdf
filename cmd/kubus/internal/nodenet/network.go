package nodenet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/services/kit/links"
)

// names of an instance's parts carry a hash of its id, as its agents' and proxies' do.
type names struct{ hash string }

func namesOf(id string) names {
	sum := sha256.Sum256([]byte(id))
	return names{hex.EncodeToString(sum[:3])}
}

func (n names) bridge() string         { return "kn-" + n.hash }
func (n names) link(number int) string { return fmt.Sprintf("kn%s-%d", n.hash, number) }
func (n names) owns(link string) bool {
	return link == n.bridge() || strings.HasPrefix(link, "kn"+n.hash+"-")
}
func (n names) chain(what string) string { return "KN-" + n.hash + "-" + what }

// Ensure makes the bridge, its rules, and the places of all further nodes of the instance.
// An instance without further nodes gets nothing.
func Ensure(ctx context.Context, i *instance.Instance) error {
	nodes := i.FurtherNodes()
	if len(nodes) == 0 {
		return nil
	}
	n := namesOf(i.ID)
	prefix, machine := i.NodeNetwork()
	if !prefix.IsValid() {
		return errors.New("the nodes have no range of addresses")
	}
	mtu := links.UplinkMTU()
	bridge, err := ensureBridge(n.bridge(), machine, prefix, mtu)
	if err != nil {
		return fmt.Errorf("making bridge %s: %w", n.bridge(), err)
	}
	if err := n.installRules(ctx, prefix, i.PodCIDR); err != nil {
		return fmt.Errorf("installing the rules of the nodes' network: %w", err)
	}
	for _, node := range nodes {
		if err := ensureNode(n.link(node.Number), node, machine, prefix, bridge, mtu); err != nil {
			return fmt.Errorf("making the place of node %s: %w", node.Name, err)
		}
	}
	return nil
}

// Remove takes one node's place away. Nothing may run in it any more.
func Remove(i *instance.Instance, node instance.Node) error {
	err := deleteLink(namesOf(i.ID).link(node.Number)) // its other end goes with it
	return errors.Join(err, removeNamespaces(node.Namespaces))
}

// Purge removes everything of an instance, the nodes' places included. Nothing to do is no error.
func Purge(ctx context.Context, i *instance.Instance) error {
	var problems []error
	for _, node := range i.FurtherNodes() {
		problems = append(problems, Remove(i, node))
	}
	n := namesOf(i.ID)
	all, err := links.All()
	problems = append(problems, err)
	for _, l := range all {
		if n.owns(l.Attrs().Name) {
			problems = append(problems, deleteLink(l.Attrs().Name))
		}
	}
	left, _ := filepath.Glob(filepath.Join(instance.HostRun, i.ID+"-*-ns")) // of nodes that are on no list any more
	for _, dir := range left {
		problems = append(problems, removeNamespaces(dir))
	}
	return errors.Join(append(problems, n.removeRules(ctx))...)
}

func deleteLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("removing link %s: %w", name, err)
	}
	return nil
}

func ensureBridge(name string, machine netip.Addr, prefix netip.Prefix, mtu int) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = name, mtu, macOf(machine) // fixed: otherwise it changes with the ports
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return nil, err
		}
		link, err = netlink.LinkByName(name)
	}
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		setSysctl("net/ipv4/conf/"+name+"/send_redirects", "0"), // nodes that do not know each other yet meet by us
		setSysctl("net/ipv6/conf/"+name+"/disable_ipv6", "1"),
	); err != nil {
		return nil, err
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(machine, prefix.Bits())}); err != nil {
		return nil, err
	}
	return link, netlink.LinkSetUp(link)
}

func ensureNode(link string, node instance.Node, machine netip.Addr, prefix netip.Prefix, bridge netlink.Link, mtu int) error {
	ip, err := netip.ParseAddr(node.IP)
	if err != nil {
		return err
	}
	fresh, err := ensureNamespaces(node.Namespaces, node.Name)
	if err != nil {
		return err
	}
	if fresh { // an end that another namespace left
		if err := deleteLink(link); err != nil {
			return err
		}
	}
	end, err := netlink.LinkByName(link)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		if end, err = plug(link, node, ip, mtu); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if err := setSysctl("net/ipv6/conf/"+link+"/disable_ipv6", "1"); err != nil {
		return err
	}
	if err := netlink.LinkSetMaster(end, bridge); err != nil {
		return fmt.Errorf("putting %s on the bridge: %w", link, err)
	}
	// A node port of the machine may lead back to the node that asks. Where bridged packets pass iptables, such a packet
	// is sent back by the bridge itself.
	if err := netlink.LinkSetHairpin(end, true); err != nil {
		return fmt.Errorf("letting %s hear itself: %w", link, err)
	}
	if err := netlink.LinkSetUp(end); err != nil {
		return err
	}
	return In(node, func() error { return inside(machine, ip, prefix) })
}

// plug makes a link between the machine and the node.
func plug(name string, node instance.Node, ip netip.Addr, mtu int) (netlink.Link, error) {
	ns, err := unix.Open(filepath.Join(node.Namespaces, "net"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(ns)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns), PeerHardwareAddr: macOf(ip)}
	if err := netlink.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("making its link: %w", err)
	}
	return netlink.LinkByName(name)
}

// inside sets up the node's end; it runs in the node's namespace.
func inside(machine, ip netip.Addr, prefix netip.Prefix) error {
	for _, name := range []string{"lo", "eth0"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if name == "eth0" {
			if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(ip, prefix.Bits())}); err != nil {
				return err
			}
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: machine.AsSlice()})
}

func ipNet(ip netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(bits, 32)}
}

func macOf(ip netip.Addr) net.HardwareAddr {
	a := ip.As4()
	return net.HardwareAddr{0x0a, 0x5a, a[0], a[1], a[2], a[3]}
}

func setSysctl(name, value string) error {
	err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0)
	if errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
		return nil
	}
	return err
}
