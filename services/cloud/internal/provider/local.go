package provider

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Location is where a machine stands.
type Location struct {
	Region string `yaml:"region"`
	Zone   string `yaml:"zone"`
}

// Local is the provider of machines without a cloud: regions and zones come from
// configuration, and a load balancer is the nodes themselves, on whose addresses
// the proxy answers the Service's ports.
type Local struct {
	Default Location
	Nodes   map[string]Location // by node name; wins over Default
}

// Instance implements Provider. Addresses are the agent's to report.
func (l Local) Instance(_ context.Context, node *corev1.Node) (Instance, error) {
	at := l.Default
	if own, ok := l.Nodes[node.Name]; ok {
		at = Location{Region: cmp.Or(own.Region, at.Region), Zone: cmp.Or(own.Zone, at.Zone)}
	}
	return Instance{Zone: at.Zone, Region: at.Region}, nil
}

// Balance implements Provider. A port of an address is one Service's: the oldest
// Service that asks for it has it, others are told whose it is.
func (l Local) Balance(_ context.Context, services []*corev1.Service, nodes []*corev1.Node) ([]Balancer, error) {
	addresses := externalAddresses(nodes)
	taken := map[string]*corev1.Service{}
	order := make([]int, len(services))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return older(services[a], services[b]) })
	out := make([]Balancer, len(services))
	for _, i := range order {
		out[i] = balance(services[i], addresses, taken)
	}
	return out, nil
}

func older(a, b *corev1.Service) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func balance(s *corev1.Service, addresses []netip.Addr, taken map[string]*corev1.Service) Balancer {
	for _, p := range s.Spec.Ports {
		if by := taken[portKey(p)]; by != nil {
			return Balancer{Refusal: fmt.Sprintf("port %d/%s of the nodes belongs to Service %s/%s", p.Port, p.Protocol, by.Namespace, by.Name)}
		}
	}
	for _, p := range s.Spec.Ports {
		taken[portKey(p)] = s
	}
	var b Balancer
	for _, family := range s.Spec.IPFamilies {
		for _, a := range addresses {
			if a.Is6() == (family == corev1.IPv6Protocol) {
				b.Ingress = append(b.Ingress, corev1.LoadBalancerIngress{IP: a.String()})
			}
		}
	}
	return b
}

func portKey(p corev1.ServicePort) string { return fmt.Sprintf("%d/%s", p.Port, p.Protocol) }

// externalAddresses lists the addresses of the nodes that take traffic from
// outside: the external ones of a node if it has any, else the internal ones.
func externalAddresses(nodes []*corev1.Node) []netip.Addr {
	var out []netip.Addr
	for _, n := range nodes {
		if _, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]; excluded || !ready(n) || n.DeletionTimestamp != nil {
			continue
		}
		found := addressesOf(n, corev1.NodeExternalIP)
		if len(found) == 0 {
			found = addressesOf(n, corev1.NodeInternalIP)
		}
		out = append(out, found...)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

func addressesOf(n *corev1.Node, kind corev1.NodeAddressType) []netip.Addr {
	var out []netip.Addr
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == kind {
			out = append(out, ip)
		}
	}
	return out
}

func ready(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
