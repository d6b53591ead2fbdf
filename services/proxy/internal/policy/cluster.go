package policy

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
)

// Cluster is what decisions are made from. It is not safe for concurrent use.
type Cluster struct {
	pods       map[Name]*Pod
	at         map[netip.Addr]*Pod
	rivals     map[netip.Addr][]*Pod // all that report an address, where several do
	inside     map[string]map[Name]*Pod
	namespaces map[string]labels.Set
	nodes      map[string][]netip.Addr
	dns        []Server
	policies   map[Name]*Policy
	of         map[string][]*Policy // by namespace, sorted
}

// NewCluster has nothing in it.
func NewCluster() *Cluster {
	return &Cluster{
		pods: map[Name]*Pod{}, at: map[netip.Addr]*Pod{}, rivals: map[netip.Addr][]*Pod{}, inside: map[string]map[Name]*Pod{},
		namespaces: map[string]labels.Set{}, nodes: map[string][]netip.Addr{}, policies: map[Name]*Policy{}, of: map[string][]*Policy{},
	}
}

// SetPod tells of a pod; nil when it is gone. It gives the addresses that another pod has
// now, or another one's labels, node or ports.
func (c *Cluster) SetPod(name Name, p *Pod) (changed []netip.Addr) {
	old := c.pods[name]
	if old != nil && p != nil && same(old, p) {
		return nil
	}
	if old != nil {
		delete(c.pods, name)
		if delete(c.inside[name.Namespace], name); len(c.inside[name.Namespace]) == 0 {
			delete(c.inside, name.Namespace)
		}
		c.leave(old)
		changed = append(changed, old.Addr)
	}
	if p != nil {
		c.pods[name] = p
		if c.inside[name.Namespace] == nil {
			c.inside[name.Namespace] = map[Name]*Pod{}
		}
		c.inside[name.Namespace][name] = p
		c.rivals[p.Addr] = append(c.rivals[p.Addr], p)
		if !slices.Contains(changed, p.Addr) {
			changed = append(changed, p.Addr)
		}
	}
	for _, addr := range changed {
		c.settle(addr)
	}
	return changed
}

func same(a, b *Pod) bool {
	return a.Addr == b.Addr && a.Node == b.Node && maps.Equal(a.Labels, b.Labels) && slices.Equal(a.Ports, b.Ports) && a.Created.Equal(b.Created)
}

func (c *Cluster) leave(p *Pod) {
	c.rivals[p.Addr] = slices.DeleteFunc(c.rivals[p.Addr], func(o *Pod) bool { return o == p })
	if len(c.rivals[p.Addr]) == 0 {
		delete(c.rivals, p.Addr)
	}
}

// settle says whose an address is.
func (c *Cluster) settle(addr netip.Addr) {
	var last *Pod
	for _, p := range c.rivals[addr] {
		if last == nil || p.later(last) {
			last = p
		}
	}
	if last == nil {
		delete(c.at, addr)
		return
	}
	c.at[addr] = last
}

// SetNamespace tells a namespace's labels; false when it is gone. It tells whether that
// changed anything.
func (c *Cluster) SetNamespace(name string, set labels.Set, there bool) bool {
	old, was := c.namespaces[name]
	if was == there && maps.Equal(old, set) {
		return false
	}
	if there {
		c.namespaces[name] = set
	} else {
		delete(c.namespaces, name)
	}
	return true
}

// SetNode tells a node's addresses; none when it is gone.
func (c *Cluster) SetNode(name string, addrs []netip.Addr) {
	if len(addrs) == 0 {
		delete(c.nodes, name)
		return
	}
	c.nodes[name] = addrs
}

// Server is somebody who answers at a port.
type Server struct {
	Addr     netip.Addr
	Protocol Protocol
	Port     uint16
}

func (s Server) String() string { return fmt.Sprintf("%s . %s . %d", s.Addr, s.Protocol, s.Port) }

// SetDNS tells where the cluster's DNS answers, where that is no pod's address.
func (c *Cluster) SetDNS(servers []Server) { c.dns = servers }

// SetPolicy tells of a policy; nil when it is gone.
func (c *Cluster) SetPolicy(name Name, p *Policy) {
	list := slices.DeleteFunc(slices.Clone(c.of[name.Namespace]), func(o *Policy) bool { return o.Name == name })
	delete(c.policies, name)
	if p != nil {
		c.policies[name] = p
		list = append(list, p)
		slices.SortFunc(list, func(a, b *Policy) int { return a.Compare(b.Name) })
	}
	if c.of[name.Namespace] = list; len(list) == 0 {
		delete(c.of, name.Namespace)
	}
}

// Policies is how many there are.
func (c *Cluster) Policies() int { return len(c.policies) }

// AllPolicies gives them, in no order.
func (c *Cluster) AllPolicies() iter.Seq2[Name, *Policy] { return maps.All(c.policies) }

// Policy gives one; nil where there is none.
func (c *Cluster) Policy(name Name) *Policy { return c.policies[name] }

// At gives the pod that has an address; nil where none has.
func (c *Cluster) At(addr netip.Addr) *Pod { return c.at[addr] }

// All gives every address that a pod has, in no order.
func (c *Cluster) All() iter.Seq2[netip.Addr, *Pod] { return maps.All(c.at) }

// Inside gives the addresses of a namespace's pods, in no order.
func (c *Cluster) Inside(namespace string) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, p := range c.inside[namespace] {
			if !yield(p.Addr) {
				return
			}
		}
	}
}

// Selecting gives the policies that isolate a pod in a direction, sorted.
func (c *Cluster) Selecting(p *Pod, d Direction) []*Policy {
	var out []*Policy
	for _, policy := range c.of[p.Namespace] {
		if policy.Isolates[d] && policy.Selects.Matches(p.Labels) {
			out = append(out, policy)
		}
	}
	return out
}

// peer tells whether the address, which is the pod's if there is one, is among the peers of
// a policy of that namespace.
func (c *Cluster) peer(peer *Peer, namespace string, addr netip.Addr, p *Pod) bool {
	if peer.Block != nil {
		return peer.Block.Contains(addr)
	}
	return p != nil && c.pod(peer, namespace, p)
}

// Selected tells whether a pod is among the peers of a rule in that namespace by its labels,
// be its address in a block or not.
func (c *Cluster) Selected(r *Rule, namespace string, p *Pod) bool {
	return slices.ContainsFunc(r.Peers, func(peer Peer) bool { return peer.Block == nil && c.pod(&peer, namespace, p) })
}

// pod is peer for those that are not blocks.
func (c *Cluster) pod(peer *Peer, namespace string, p *Pod) bool {
	if peer.Namespaces == nil {
		if p.Namespace != namespace {
			return false
		}
	} else if set, known := c.namespaces[p.Namespace]; !known || !peer.Namespaces.Matches(set) {
		return false
	}
	return peer.Pods == nil || peer.Pods.Matches(p.Labels)
}
