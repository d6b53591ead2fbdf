package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// End is one end of a connection: a pod, or somebody else's address.
type End struct {
	Addr netip.Addr
	Pod  *Pod // nil: no pod's
}

// End gives what is known of an address.
func (c *Cluster) End(addr netip.Addr) End { return End{addr, c.at[addr]} }

// Pod gives a pod that has an address of its own; nil where there is none.
func (c *Cluster) Pod(name Name) *Pod { return c.pods[name] }

// Decision says whether a connection may be, and why.
type Decision struct {
	Allowed bool
	Verdict [2]Verdict // by Direction: of the receiver's policies, of the sender's
	Free    string     // why no policy is asked; else empty
}

// Verdict is one direction's part of a decision.
type Verdict struct {
	Pod      *Pod   // whose policies these are; nil: the end is no pod
	Policies []Name // that isolate it; none: all is allowed
	Allowed  bool
	By       Name // the first policy that allows it, where there are any
	Rule     int  // its rule, from 0
}

func (v Verdict) String() string {
	switch {
	case v.Pod == nil:
		return "no pod"
	case len(v.Policies) == 0:
		return fmt.Sprintf("no policy selects pod %s", v.Pod.Name)
	case v.Allowed:
		return fmt.Sprintf("allowed by rule %d of policy %s", v.Rule, v.By)
	}
	return fmt.Sprintf("no rule allows it of the policies that select pod %s: %s", v.Pod.Name, join(v.Policies))
}

func join(names []Name) string {
	out := ""
	for i, n := range names {
		if i > 0 {
			out += ", "
		}
		out += n.String()
	}
	return out
}

// Decide tells whether from may begin a connection to a port of to.
func (c *Cluster) Decide(from, to End, protocol Protocol, port uint16) Decision {
	if why := c.free(from, to, Server{to.Addr, protocol, port}); why != "" {
		return Decision{Allowed: true, Free: why}
	}
	d := Decision{Allowed: true}
	for _, direction := range Directions {
		subject, other := to, from
		if direction == Egress {
			subject, other = from, to
		}
		v := c.verdict(direction, subject, other, to.Pod, protocol, port)
		d.Verdict[direction] = v
		d.Allowed = d.Allowed && v.Allowed
	}
	return d
}

// free says why nobody's policies are asked.
func (c *Cluster) free(from, to End, server Server) string {
	if slices.Contains(c.dns, server) {
		return "the cluster's DNS, which the nodes have, is reached by all pods"
	}
	if from.Addr == to.Addr {
		return "a pod reaches itself"
	}
	for _, way := range [2][2]End{{from, to}, {to, from}} {
		pod, other := way[0].Pod, way[1]
		if pod != nil && other.Pod == nil && slices.Contains(c.nodes[pod.Node], other.Addr) {
			return fmt.Sprintf("a pod and its own node, %s, reach each other", pod.Node)
		}
	}
	return ""
}

func (c *Cluster) verdict(d Direction, subject, other End, receiver *Pod, protocol Protocol, port uint16) Verdict {
	v := Verdict{Pod: subject.Pod, Allowed: true}
	if subject.Pod == nil {
		return v
	}
	policies := c.Selecting(subject.Pod, d)
	for _, p := range policies {
		v.Policies = append(v.Policies, p.Name)
	}
	for _, p := range policies {
		for i := range p.Rules[d] {
			if r := &p.Rules[d][i]; c.Among(r, p.Namespace, other) && r.port(receiver, protocol, port) {
				v.By, v.Rule = p.Name, i
				return v
			}
		}
	}
	v.Allowed = len(policies) == 0
	return v
}

// Among tells whether an end is among the peers of a rule in that namespace.
func (c *Cluster) Among(r *Rule, namespace string, e End) bool {
	return r.Anyone || slices.ContainsFunc(r.Peers, func(p Peer) bool { return c.peer(&p, namespace, e.Addr, e.Pod) })
}

// port tells whether a port, of the pod that receives if there is one, is among a rule's.
func (r *Rule) port(receiver *Pod, protocol Protocol, number uint16) bool {
	if r.All {
		return true
	}
	for _, p := range r.Ports {
		switch {
		case p.Protocol != protocol:
		case p.Name == "":
			if p.From <= number && number <= p.To {
				return true
			}
		case receiver != nil:
			if n, ok := receiver.Port(p.Name, protocol); ok && n == number {
				return true
			}
		}
	}
	return false
}
