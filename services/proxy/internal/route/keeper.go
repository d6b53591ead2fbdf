package route

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/links"
)

// Protocol marks the routes that are ours, among those of the kernel, of people and of
// routing daemons (rt_protos).
const Protocol = 0x6b

// retry is how long a failure waits for the next try.
const retry = time.Second

// Options of a Keeper.
type Options struct {
	Node    string       // whose routes these are
	Cluster netip.Prefix // of all nodes' pods
	Device  string       // of the tunnels; empty: no tunnels, routes alone
	Logger  *zap.Logger
}

// Keeper keeps the routes of one node. Nothing is changed before Run.
type Keeper struct {
	opts    Options
	changed chan struct{}

	mu    sync.Mutex
	nodes map[string]Peer
}

// New gives a Keeper that knows no nodes yet.
func New(o Options) *Keeper {
	return &Keeper{opts: o, changed: make(chan struct{}, 1), nodes: map[string]Peer{}}
}

// Set notes a node; nil forgets it.
func (k *Keeper) Set(name string, p *Peer) {
	k.mu.Lock()
	old, known := k.nodes[name]
	switch {
	case p == nil:
		delete(k.nodes, name)
	default:
		k.nodes[name] = *p
	}
	same := known == (p != nil) && (p == nil || old == *p)
	k.mu.Unlock()
	if !same {
		k.touch()
	}
}

func (k *Keeper) touch() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// Run keeps the routes until ctx ends and leaves them in place. It is to be called when all
// nodes are known: routes to others are taken away. It works in the network namespace of
// the process.
func (k *Keeper) Run(ctx context.Context) error {
	lost := make(chan netlink.RouteUpdate, 64)
	if err := netlink.RouteSubscribeWithOptions(lost, ctx.Done(), netlink.RouteSubscribeOptions{}); err != nil {
		return fmt.Errorf("listening for changes of routes: %w", err)
	}
	k.touch()
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case update, open := <-lost:
			if !open {
				lost = nil
				continue
			}
			if update.Type == unix.RTM_DELROUTE && update.Protocol == Protocol && k.ours(update.Route) {
				k.touch()
			}
			continue
		case <-again:
		case <-k.changed:
		}
		again = nil
		if err := k.sync(); err != nil {
			k.opts.Logger.Error("routes to other nodes' pods not set", zap.Error(err))
			again = time.After(retry)
		}
	}
}

func (k *Keeper) ours(r netlink.Route) bool {
	cidr, ok := prefixOf(r.Dst)
	return ok && within(k.opts.Cluster, cidr)
}

// sync brings the kernel in line with what is known.
func (k *Keeper) sync() error {
	k.mu.Lock()
	peers := slices.Collect(maps.Values(k.nodes))
	var own *Peer
	if p, ok := k.nodes[k.opts.Node]; ok {
		own = &p
	}
	k.mu.Unlock()
	if own == nil {
		return nil // not registered yet, or just deleted: it will be again
	}
	paths := path
	var device netlink.Link
	if k.opts.Device != "" {
		var err error
		if device, err = k.device(own); err != nil {
			return fmt.Errorf("making the device of tunnels: %w", err)
		}
		ends := map[netip.Addr]netip.Addr{}
		for _, p := range peers {
			ends[p.IP], _ = tunnelEnd(p.CIDR)
		}
		paths = func(ip netip.Addr) (Path, bool) {
			return Path{Via: ends[ip], Link: device.Attrs().Index}, true
		}
	}
	want := Plan(k.opts.Cluster, own, peers, paths)
	have, err := k.present()
	if err != nil {
		return err
	}
	if device != nil {
		if err := tunnels(device, want, peers); err != nil {
			return err
		}
	}
	remove, set := differences(have, want)
	for _, r := range remove {
		if err := netlink.RouteDel(r.native()); err != nil && err != unix.ESRCH {
			return fmt.Errorf("removing the route to %s: %w", r.CIDR, err)
		}
	}
	for _, r := range set {
		if err := netlink.RouteReplace(r.native()); err != nil {
			return fmt.Errorf("setting the route to %s: %w", r.CIDR, err)
		}
	}
	if len(remove)+len(set) > 0 {
		k.opts.Logger.Info("routes to other nodes' pods set", zap.Int("nodes", len(want)))
	}
	return nil
}

func (r Route) native() *netlink.Route {
	return &netlink.Route{
		Dst: network(r.CIDR), Gw: r.Via.AsSlice(), LinkIndex: r.Link, Protocol: Protocol, Flags: int(netlink.FLAG_ONLINK),
	}
}

// present lists the routes that are ours.
func (k *Keeper) present() ([]Route, error) {
	return list(k.opts.Cluster)
}

func list(cluster netip.Prefix) ([]Route, error) {
	all, err := links.RoutesLike(netlink.FAMILY_V4, &netlink.Route{Protocol: Protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	var out []Route
	for _, r := range all {
		cidr, ok := prefixOf(r.Dst)
		via, _ := netip.AddrFromSlice(r.Gw.To4())
		if ok && within(cluster, cidr) {
			out = append(out, Route{CIDR: cidr, Via: via, Link: r.LinkIndex})
		}
	}
	return out, nil
}

// path asks the kernel how it would reach an address.
func path(ip netip.Addr) (Path, bool) {
	routes, err := netlink.RouteGet(ip.AsSlice())
	if err != nil || len(routes) == 0 || routes[0].Type != unix.RTN_UNICAST {
		return Path{}, false
	}
	via, _ := netip.AddrFromSlice(routes[0].Gw.To4())
	return Path{Via: via, Link: routes[0].LinkIndex}, true
}

func network(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP.To4())
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(ip, ones), ok
}

// Purge removes the routes within a cluster's range and the device of its tunnels.
// Nothing to do is no error.
func Purge(cluster netip.Prefix, device string) error {
	routes, err := list(cluster)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if err := netlink.RouteDel(r.native()); err != nil && err != unix.ESRCH {
			return fmt.Errorf("removing the route to %s: %w", r.CIDR, err)
		}
	}
	return removeDevice(device)
}
