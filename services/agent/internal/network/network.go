// Package network gives pods their network: a link of its own and a namespace with one address for each pod, and
// the iptables rules that let pods out and hostPorts in.
//
// Start with Network: New, Setup, then Reserve, Connect and Plug, and Detach. NewNamespaces makes the namespaces.
//
// A pod holds its address as a /32 and reaches everything through the gateway's address, also its neighbours: so
// all traffic is routed, passes the node's iptables once in each direction, and Services work between pods of one
// node without br_netfilter. No two pods share a link, so that nobody can take a neighbour's packets, and what a pod
// sends from another address than its own is dropped where it arrives. A bridge without ports holds the gateway's
// address and the node's part of the pod network. The folder of leases is the truth about addresses; a pod keeps its
// address until Detach. All names carry the instance's hash, so that two clusters on one machine never meet. Methods may
// be called concurrently.
package network

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
	"sync"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/links"
)

// Options of a Network.
type Options struct {
	Instance string // unique on the machine
	StateDir string // leases and hostPorts; survives a restart of the agent
	NSDir    string // namespaces are mounted here; lost at reboot
	MTU      int    // 0: that of the default route's link, less Overhead
	Overhead int    // bytes that the network between nodes adds to each packet
	// ClusterCIDR is the network of all nodes' pods; "" for this node's alone. Pods see each other's addresses in it.
	ClusterCIDR string
	Logger      *zap.Logger
}

// Network is the pod network of one node.
type Network struct {
	opts   Options
	names  Names
	log    *zap.Logger
	leases *leases
	ports  *hostPorts
	hostNS int // descriptor of the node's network namespace

	mu      sync.Mutex
	cidr    netip.Prefix // invalid until Setup
	gateway netip.Addr
	mtu     int
}

// Names are what an instance's parts are called in the kernel.
type Names struct{ Bridge, Hash string }

// NamesOf derives them from the instance.
func NamesOf(instance string) Names {
	sum := sha256.Sum256([]byte(instance))
	hash := hex.EncodeToString(sum[:4])
	return Names{Bridge: "kb-" + hash, Hash: hash}
}

// vethPrefix is what the node's ends of the instance's pods' links begin with.
func (n Names) vethPrefix() string { return "kv" + n.Hash[:5] }

func (n Names) ownLink(name string) bool {
	return name == n.Bridge || strings.HasPrefix(name, n.vethPrefix())
}

// Chain is an iptables chain of this instance; purpose is short.
func (n Names) Chain(purpose string) string { return "KUBUS-" + purpose + "-" + n.Hash }

// ErrNotReady: Setup has not been called yet.
var ErrNotReady = errors.New("pod network has no CIDR yet")

// New reads the leases. Nothing in the kernel changes before Setup.
func New(opts Options) (*Network, error) {
	if opts.Instance == "" {
		return nil, errors.New("network needs an instance name")
	}
	l, err := openLeases(filepath.Join(opts.StateDir, "leases"))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opts.NSDir, 0o700); err != nil {
		return nil, err
	}
	hostNS, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the node's network namespace: %w", err)
	}
	n := &Network{opts: opts, names: NamesOf(opts.Instance), log: opts.Logger, leases: l, hostNS: hostNS}
	if n.log == nil {
		n.log = zap.NewNop()
	}
	n.ports, err = openHostPorts(filepath.Join(opts.StateDir, "hostports.json"), n.names, n.log)
	return n, err
}

// Setup makes the bridge and the rules for the node's pod CIDR; IPv4 only. It may be called again with the same.
func (n *Network) Setup(ctx context.Context, cidr string) error {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return fmt.Errorf("pod CIDR: %w", err)
	}
	prefix = prefix.Masked()
	if !prefix.Addr().Is4() || prefix.Bits() > 29 {
		return fmt.Errorf("pod CIDR %s: an IPv4 network of at least 8 addresses is needed", prefix)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cidr.IsValid() && n.cidr != prefix {
		return fmt.Errorf("pod CIDR cannot change from %s to %s while the agent runs", n.cidr, prefix)
	}
	if err := n.conflict(prefix); err != nil {
		return err
	}
	gateway := prefix.Addr().Next()
	if n.mtu = n.opts.MTU; n.mtu == 0 {
		n.mtu = links.UplinkMTU() - n.opts.Overhead
	}
	if err := ensureBridge(n.names.Bridge, gateway, prefix, n.mtu); err != nil {
		return fmt.Errorf("making bridge %s: %w", n.names.Bridge, err)
	}
	if err := setSysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	if err := n.installRules(ctx, prefix); err != nil {
		return fmt.Errorf("installing iptables rules: %w", err)
	}
	n.cidr, n.gateway = prefix, gateway
	return n.ports.restore(ctx)
}

// conflict refuses a CIDR that another link of this machine already holds.
func (n *Network) conflict(prefix netip.Prefix) error {
	routes, err := links.Routes(netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		ones, _ := r.Dst.Mask.Size()
		if !ok || ones == 0 {
			continue
		}
		other := netip.PrefixFrom(addr, ones)
		if !other.Overlaps(prefix) || other.Bits() < prefix.Bits() {
			continue
		}
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil || n.names.ownLink(link.Attrs().Name) {
			continue
		}
		return fmt.Errorf("pod CIDR %s is taken: link %s has a route to %s", prefix, link.Attrs().Name, other)
	}
	return nil
}

func setSysctl(name, value string) error {
	path := filepath.Join("/proc/sys", name)
	if old, err := os.ReadFile(path); err == nil && string(old) == value+"\n" {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("setting sysctl %s=%s: %w", name, value, err)
	}
	return nil
}

func ensureBridge(name string, gateway netip.Addr, prefix netip.Prefix, mtu int) error {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = name, mtu
		attrs.HardwareAddr = macOf(gateway) // fixed: otherwise it changes with the ports
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return err
		}
		link, err = netlink.LinkByName(name)
	}
	if err != nil {
		return err
	}
	if link.Type() != "bridge" {
		return fmt.Errorf("link of that name is a %s", link.Type())
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: gateway.AsSlice(), Mask: net.CIDRMask(prefix.Bits(), 32)}}
	have, err := links.Addresses(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	found := false
	for _, a := range have {
		if a.Equal(*addr) {
			found = true
		} else if err := netlink.AddrDel(link, &a); err != nil {
			return err
		}
	}
	if !found {
		if err := netlink.AddrAdd(link, addr); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

// macOf derives a link address from an IP: a pod that gets a used address also gets its link address, so that no
// neighbour table is wrong.
func macOf(ip netip.Addr) net.HardwareAddr {
	a := ip.As4()
	return net.HardwareAddr{0x0a, 0x58, a[0], a[1], a[2], a[3]}
}

// Bridge is the name of the bridge.
func (n *Network) Bridge() string { return n.names.Bridge }

// Close lets go of descriptors; links, rules and leases stay.
func (n *Network) Close() error {
	n.ports.close()
	return unix.Close(n.hostNS)
}
