package rule

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"kubus.dev/services/proxy/internal/service"
)

// chain is one chain's name, without prefix, and its rules.
type chain struct {
	name  string
	rules []string // without "-A <chain> "
}

// portRules is what one port needs.
type portRules struct {
	own    []chain      // nat chains only this port uses
	shared []sharedRule // its lines in chains that all ports share
}

// sharedRule is one line of a chain that several ports write to.
type sharedRule struct {
	table Table
	chain string
	rule  string
}

// renderer writes the rules of one port.
type renderer struct {
	*Options
	p     *service.Port
	id    string // prefix and kind stand before it
	out   portRules
	proto string // "-p tcp -m tcp"
}

func (o *Options) render(p *service.Port) portRules {
	r := &renderer{
		Options: o, p: p,
		id:    portHash(p.Service.String(), p.Name, p.Protocol),
		proto: "-p " + p.Protocol + " -m " + p.Protocol,
	}
	r.balancers()
	r.clusterIP()
	if p.External() {
		r.external()
		r.externalAddresses()
		r.nodePort()
	}
	for _, ip := range p.Hairpins {
		r.share(Nat, chainHairpin, fmt.Sprintf("-s %s/32 -d %s/32 -j MASQUERADE", ip, ip))
	}
	return r.out
}

func (r *renderer) jump(kind string) string { return "-j " + r.Prefix + kind + r.id }

func (r *renderer) share(t Table, chain, rule string) {
	r.out.shared = append(r.out.shared, sharedRule{t, chain, rule})
}

func (r *renderer) comment(what string) string {
	return `-m comment --comment "` + r.p.String() + " " + what + `"`
}

// balancers writes S and L. A port whose policies ask only for this node's
// endpoints still has S when clients inside the cluster use its external
// addresses.
func (r *renderer) balancers() {
	p := r.p
	if len(p.Cluster) > 0 && (!p.InternalLocal || p.External()) {
		r.balancer("S", p.Cluster)
	}
	if len(p.Local) > 0 {
		r.balancer("L", p.Local)
	}
}

func (r *renderer) balancer(kind string, endpoints []netip.AddrPort) {
	c := chain{name: kind + r.id, rules: make([]string, 0, len(endpoints)+1)}
	c.rules = append(c.rules, r.outsiders())
	sticky := r.p.Affinity > 0 && r.Affinity
	if sticky {
		for _, at := range endpoints {
			c.rules = append(c.rules, fmt.Sprintf("-m recent --name %s --update --seconds %d --reap --rsource %s -j DNAT --to-destination %s",
				r.recentName(at), int(r.p.Affinity.Seconds()), r.proto, at))
		}
	}
	var b []byte
	for i, at := range endpoints {
		b = b[:0]
		if left := len(endpoints) - i; left > 1 {
			b = append(b, "-m statistic --mode random --probability "...)
			b = strconv.AppendFloat(b, 1/float64(left), 'f', 11, 64)
			b = append(b, ' ')
		}
		if sticky {
			b = append(b, "-m recent --name "...)
			b = append(b, r.recentName(at)...)
			b = append(b, " --set --rsource "...)
		}
		b = append(b, r.proto...)
		b = append(b, " -j DNAT --to-destination "...)
		b = at.AppendTo(b)
		c.rules = append(c.rules, string(b))
	}
	r.out.own = append(r.out.own, c)
}

// outsiders marks what would not find its way back: senders that are no pods
// and use the ClusterIP. They may be routed in any way, so the answer has to
// pass this node again.
func (r *renderer) outsiders() string {
	from := "-m addrtype --src-type LOCAL"
	if r.PodCIDR.IsValid() {
		from = "! -s " + r.PodCIDR.String()
	}
	return from + " -d " + r.p.ClusterIP.String() + "/32 -j " + r.Prefix + chainMark
}

// recentName is the affinity list of one endpoint; they are removed with the rules.
func (r *renderer) recentName(at netip.AddrPort) string {
	return r.Prefix + r.id + "-" + strings.ReplaceAll(at.String(), ":", "-")
}

func (r *renderer) to(addr netip.Addr) string {
	return fmt.Sprintf("-d %s/32 %s --dport %d", addr, r.proto, r.p.Number)
}

func (r *renderer) clusterIP() {
	p, kind := r.p, ""
	switch {
	case p.InternalLocal && len(p.Local) > 0:
		kind = "L"
	case !p.InternalLocal && len(p.Cluster) > 0:
		kind = "S"
	default:
		return // the rule on the service CIDR refuses it
	}
	r.share(Nat, bucket(p.ClusterIP), r.to(p.ClusterIP)+" "+r.comment("cluster IP")+" "+r.jump(kind))
}

// external writes X, and F for a balancer's source ranges.
func (r *renderer) external() {
	p := r.p
	if len(p.Cluster) == 0 {
		return
	}
	x := chain{name: "X" + r.id}
	if !p.ExternalLocal {
		x.rules = append(x.rules, "-j "+r.Prefix+chainMark, r.jump("S"))
	} else {
		// Inside the cluster an external address means the Service, not this
		// node's part of it.
		if r.PodCIDR.IsValid() {
			x.rules = append(x.rules, "-s "+r.PodCIDR.String()+" "+r.jump("S"))
		}
		x.rules = append(x.rules,
			"-m addrtype --src-type LOCAL -j "+r.Prefix+chainMark,
			"-m addrtype --src-type LOCAL "+r.jump("S"))
		if len(p.Local) > 0 {
			x.rules = append(x.rules, r.jump("L"))
		}
	}
	r.out.own = append(r.out.own, x)
	if p.SourceRanges != nil && len(p.LoadBalancerIPs) > 0 {
		f := chain{name: "F" + r.id}
		for _, from := range p.SourceRanges {
			f.rules = append(f.rules, "-s "+from.String()+" "+r.jump("X"))
		}
		r.out.own = append(r.out.own, f)
	}
}

// refusal is what an external address gets that nobody here serves: nothing at
// all where another node may serve it, a clear no otherwise.
func (r *renderer) refusal() string {
	if r.p.ExternalLocal && len(r.p.Cluster) > 0 {
		return "-j DROP"
	}
	if r.p.Protocol == "tcp" {
		return "-j REJECT --reject-with tcp-reset"
	}
	return "-j REJECT --reject-with icmp-port-unreachable"
}

// served tells whether outside traffic finds an endpoint by the policy.
func (r *renderer) served() bool {
	if r.p.ExternalLocal {
		return len(r.p.Local) > 0
	}
	return len(r.p.Cluster) > 0
}

func (r *renderer) externalAddresses() {
	p := r.p
	for _, ip := range p.ExternalIPs {
		r.externalAddress(ip, "external IP", "X", !r.served())
	}
	kind := "X"
	if p.SourceRanges != nil {
		kind = "F"
	}
	for _, ip := range p.LoadBalancerIPs {
		r.externalAddress(ip, "load balancer IP", kind, !r.served())
		if kind == "F" && r.served() {
			r.share(Filter, chainReject, r.to(ip)+" "+r.comment("outside loadBalancerSourceRanges")+" -j DROP")
		}
	}
}

func (r *renderer) externalAddress(ip netip.Addr, what, kind string, refuse bool) {
	if len(r.p.Cluster) > 0 {
		r.share(Nat, chainExternal, r.to(ip)+" "+r.comment(what)+" "+r.jump(kind))
	}
	if refuse {
		r.share(Filter, chainReject, r.to(ip)+" "+r.comment("has no endpoints")+" "+r.refusal())
	}
}

func (r *renderer) nodePort() {
	if r.p.NodePort == 0 {
		return
	}
	at := fmt.Sprintf("%s --dport %d", r.proto, r.p.NodePort)
	if len(r.p.Cluster) > 0 {
		r.share(Nat, chainNodePort, at+" "+r.comment("node port")+" "+r.jump("X"))
	}
	if !r.served() {
		r.share(Filter, chainReject, "! -d 127.0.0.0/8 "+at+" -m addrtype --dst-type LOCAL "+r.comment("has no endpoints")+" "+r.refusal())
	}
}

// bucket is the chain of the /24 that addr is in: a Service that changes
// rewrites at most 256 addresses' rules, not all.
func bucket(addr netip.Addr) string {
	b := addr.As4()
	return fmt.Sprintf("B%02x%02x%02x", b[0], b[1], b[2])
}

// bucketPrefix is the inverse, for the dispatch to it.
func bucketPrefix(name string) netip.Prefix {
	n, _ := strconv.ParseUint(name[1:], 16, 32)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 16), byte(n >> 8), byte(n)}), 24)
}
