package policytest

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func sorted[K cmp.Ordered, T any](m map[K]T) []K { return slices.Sorted(maps.Keys(m)) }

// Names of all pods, sorted.
func (w *World) Names() []string { return sorted(w.Pods) }

// pod is the one that has an address.
func (w *World) pod(address string) *corev1.Pod {
	for _, p := range w.Pods {
		if p.Status.PodIP == address {
			return p
		}
	}
	return nil
}

// Allowed tells whether who has the address from may connect to a port at the address to.
func (w *World) Allowed(from, to string, port Port) bool {
	if from == to {
		return true
	}
	sender, receiver := w.pod(from), w.pod(to)
	if w.own(sender, to) || w.own(receiver, from) {
		return true
	}
	if receiver != nil {
		selected, allowed := false, false
		for _, p := range w.Policies {
			if p.Namespace != receiver.Namespace || !has(p.Spec, "Ingress") || !matches(&p.Spec.PodSelector, receiver.Labels) {
				continue
			}
			selected = true
			for _, r := range p.Spec.Ingress {
				if w.peer(p.Namespace, r.From, from, sender) && portOf(r.Ports, port, receiver) {
					allowed = true
				}
			}
		}
		if selected && !allowed {
			return false
		}
	}
	if sender != nil {
		selected, allowed := false, false
		for _, p := range w.Policies {
			if p.Namespace != sender.Namespace || !has(p.Spec, "Egress") || !matches(&p.Spec.PodSelector, sender.Labels) {
				continue
			}
			selected = true
			for _, r := range p.Spec.Egress {
				if w.peer(p.Namespace, r.To, to, receiver) && portOf(r.Ports, port, receiver) {
					allowed = true
				}
			}
		}
		if selected && !allowed {
			return false
		}
	}
	return true
}

// own tells whether an address is that of a pod's node.
func (w *World) own(p *corev1.Pod, address string) bool {
	if p == nil {
		return false
	}
	i := slices.Index(w.Nodes, p.Spec.NodeName)
	return NodeAddress(i) == address
}

func has(spec networkingv1.NetworkPolicySpec, t networkingv1.PolicyType) bool {
	if len(spec.PolicyTypes) > 0 {
		return slices.Contains(spec.PolicyTypes, t)
	}
	return t == "Ingress" || len(spec.Egress) > 0
}

func (w *World) peer(namespace string, peers []networkingv1.NetworkPolicyPeer, address string, pod *corev1.Pod) bool {
	if len(peers) == 0 {
		return true
	}
	for _, p := range peers {
		if p.IPBlock != nil {
			if inBlock(p.IPBlock, address) {
				return true
			}
			continue
		}
		if pod == nil {
			continue
		}
		if p.NamespaceSelector != nil {
			if !matches(p.NamespaceSelector, w.Namespaces[pod.Namespace].Labels) {
				continue
			}
		} else if pod.Namespace != namespace {
			continue
		}
		if p.PodSelector == nil || matches(p.PodSelector, pod.Labels) {
			return true
		}
	}
	return false
}

func inBlock(b *networkingv1.IPBlock, address string) bool {
	a := netip.MustParseAddr(address)
	if !netip.MustParsePrefix(b.CIDR).Contains(a) {
		return false
	}
	for _, e := range b.Except {
		if netip.MustParsePrefix(e).Contains(a) {
			return false
		}
	}
	return true
}

func portOf(ports []networkingv1.NetworkPolicyPort, port Port, receiver *corev1.Pod) bool {
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		if protocol != port.Protocol {
			continue
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			if receiver == nil {
				continue
			}
			for _, c := range receiver.Spec.Containers {
				for _, named := range c.Ports {
					if named.Name == p.Port.StrVal && named.Protocol == protocol && named.ContainerPort == port.Number {
						return true
					}
				}
			}
		case p.EndPort != nil:
			if p.Port.IntVal <= port.Number && port.Number <= *p.EndPort {
				return true
			}
		case p.Port.IntVal == port.Number:
			return true
		}
	}
	return false
}

func matches(s *metav1.LabelSelector, labels map[string]string) bool {
	for k, v := range s.MatchLabels {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		v, ok := labels[e.Key]
		fits := false
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			fits = ok && slices.Contains(e.Values, v)
		case metav1.LabelSelectorOpNotIn:
			fits = !ok || !slices.Contains(e.Values, v)
		case metav1.LabelSelectorOpExists:
			fits = ok
		case metav1.LabelSelectorOpDoesNotExist:
			fits = !ok
		}
		if !fits {
			return false
		}
	}
	return true
}
