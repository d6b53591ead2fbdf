package intake

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto/statelog"
)

// Addresses decides which addresses a node may say are its own or its pods'. Services
// lead traffic there, and the addresses of nodes are those of load balancers: what one
// node says must not draw another's.
type Addresses struct {
	allowed []netip.Prefix // of nodes; empty: all that can be a machine's
	refused prometheus.Counter
	log     *zap.Logger
}

// NewAddresses counts what it refuses in metrics, which may be nil.
func NewAddresses(allowed []netip.Prefix, metrics prometheus.Registerer, log *zap.Logger) *Addresses {
	a := &Addresses{allowed: allowed, log: log, refused: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubus_status_refused_addresses_total", Help: "Addresses in agents' reports that were not theirs to have."})}
	if metrics != nil {
		if err := metrics.Register(a.refused); err != nil {
			log.Warn("registering a metric", zap.Error(err))
		}
	}
	return a
}

// ParseRanges reads addresses and CIDRs.
func ParseRanges(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		if ip, err := netip.ParseAddr(text); err == nil {
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no address and no range", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// usable tells whether an address can be reached by another machine.
func usable(ip netip.Addr) bool {
	return ip.IsValid() && ip.Zone() == "" && ip == ip.Unmap() && (ip.IsGlobalUnicast() && !ip.IsLinkLocalUnicast())
}

// others are what of the cluster's addresses is not this node's.
type others struct {
	nodes []netip.Addr
	pods  []netip.Prefix // ranges of all nodes
}

// places remembers where each node is, so that a node is decoded once a version. It is
// used by one goroutine.
type places struct {
	view *statelog.View
	seen map[string]place
}

type place struct {
	revision uint64
	nodes    []netip.Addr
	pods     []netip.Prefix
}

func newPlaces(view *statelog.View) *places { return &places{view, map[string]place{}} }

func (p *places) read(e *statelog.Entry) place {
	name := e.Key().Name
	was, found := p.seen[name]
	if found && was.revision == e.Revision() {
		return was
	}
	now := place{revision: e.Revision()}
	if node, err := statelog.Decode[corev1.Node](e); err == nil {
		for _, cidr := range node.Spec.PodCIDRs {
			if r, err := netip.ParsePrefix(cidr); err == nil {
				now.pods = append(now.pods, r)
			}
		}
		for _, a := range node.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil {
				now.nodes = append(now.nodes, ip)
			}
		}
	}
	p.seen[name] = now
	return now
}

// of gives a node's own ranges of pods, none while it has none.
func (p *places) of(name string) []netip.Prefix {
	if e := p.view.Get(nodes, "", name); e != nil {
		return p.read(e).pods
	}
	return nil
}

// others reads the other nodes, and every node's range of pods.
func (p *places) others(name string) others {
	var o others
	snapshot := p.view.Snapshot(nodes)
	snapshot.Ascend("", func(e *statelog.Entry) bool {
		at := p.read(e)
		o.pods = append(o.pods, at.pods...)
		if e.Key().Name != name {
			o.nodes = append(o.nodes, at.nodes...)
		}
		return true
	})
	if len(p.seen) > 2*snapshot.Len()+16 { // nodes that are no more
		clear(p.seen)
	}
	return o
}

func within(ranges []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// machine tells whether the address may be that of a node among the others.
func (a *Addresses) machine(ip netip.Addr, o others) bool {
	return usable(ip) && (len(a.allowed) == 0 || within(a.allowed, ip)) && !within(o.pods, ip) && !slices.Contains(o.nodes, ip)
}

// ofNode leaves of a node's addresses those it may have: its name as host name, and
// addresses of a machine that are no other's. Names that others would resolve are not
// its to give.
func (a *Addresses) ofNode(name string, said []corev1.NodeAddress, o others) []corev1.NodeAddress {
	kept := make([]corev1.NodeAddress, 0, len(said))
	for _, address := range said {
		ip, err := netip.ParseAddr(address.Address)
		var ok bool
		switch address.Type {
		case corev1.NodeHostName:
			ok = address.Address == name
		case corev1.NodeInternalIP, corev1.NodeExternalIP:
			ok = err == nil && a.machine(ip, o)
		}
		if ok {
			kept = append(kept, address)
		} else {
			a.refuse(name, address.Address)
		}
	}
	return kept
}

// ofPod drops from a pod's status the addresses that are not in the node's range of
// pods, or for a pod in the host's network not a node's.
func (a *Addresses) ofPod(node string, ranges []netip.Prefix, pod *corev1.Pod, status *corev1.PodStatus, o func() others) {
	ok := func(text string) bool {
		ip, err := netip.ParseAddr(text)
		if err != nil || !usable(ip) {
			return false
		}
		if pod.Spec.HostNetwork {
			return a.machine(ip, o())
		}
		return len(ranges) == 0 || within(ranges, ip)
	}
	if status.PodIP != "" && !ok(status.PodIP) {
		a.refuse(node, status.PodIP)
		status.PodIP = ""
	}
	status.PodIPs = slices.DeleteFunc(status.PodIPs, func(p corev1.PodIP) bool {
		drop := !ok(p.IP)
		if drop {
			a.refuse(node, p.IP)
		}
		return drop
	})
	if status.PodIP == "" { // the first of them, as the API wants it
		status.PodIPs = nil
	}
}

func (a *Addresses) refuse(node, address string) {
	a.refused.Inc()
	a.log.Warn("a node said that an address is its own", zap.String("node", node), zap.String("address", address))
}
