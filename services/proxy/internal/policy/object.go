package policy

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Protocol is one that has ports: "tcp", "udp", "sctp".
type Protocol string

// The protocols.
const (
	TCP  Protocol = "tcp"
	UDP  Protocol = "udp"
	SCTP Protocol = "sctp"
)

// ProtocolOf reads a protocol; absent is TCP, and one without ports is "".
func ProtocolOf(p *corev1.Protocol) Protocol {
	switch {
	case p == nil || *p == "" || *p == corev1.ProtocolTCP:
		return TCP
	case *p == corev1.ProtocolUDP:
		return UDP
	case *p == corev1.ProtocolSCTP:
		return SCTP
	}
	return "" // of no packet
}

// Direction is one of the two that a policy may isolate.
type Direction int

// The directions, as seen from the pod that a policy selects.
const (
	Ingress Direction = iota
	Egress
)

// Directions are both, in the order in which they are told.
var Directions = [2]Direction{Ingress, Egress}

func (d Direction) String() string { return [...]string{"ingress", "egress"}[d] }

// Policy is what a NetworkPolicy says.
type Policy struct {
	Name
	Selects  labels.Selector
	Isolates [2]bool   // by Direction
	Rules    [2][]Rule // of directions that are isolated
}

// Rule allows what is of one of its peers and of one of its ports.
type Rule struct {
	Anyone bool   // there is no list of peers
	Peers  []Peer // nobody, when empty
	All    bool   // there is no list of ports: all protocols
	Ports  []Port
}

// Peer is a block of addresses, or pods.
type Peer struct {
	Block      *Block
	Pods       labels.Selector // nil: all
	Namespaces labels.Selector // nil: the policy's own
}

// Block is a range of addresses less others.
type Block struct {
	Range  netip.Prefix
	Except []netip.Prefix
}

// Contains tells whether an address is of the block.
func (b *Block) Contains(a netip.Addr) bool {
	if !b.Range.Contains(a) {
		return false
	}
	for _, e := range b.Except {
		if e.Contains(a) {
			return false
		}
	}
	return true
}

// Port is a range of numbers, or a name that the receiving pod gives a number.
type Port struct {
	Protocol Protocol
	Name     string
	From, To uint16
}

// FromObject reads a policy. Problems are what cannot be read: such a part allows nothing,
// and a selector of the policy's pods that cannot be read selects all.
func FromObject(obj *networkingv1.NetworkPolicy) (p *Policy, problems []error) {
	note := func(err error) { problems = append(problems, err) }
	p = &Policy{Name: Name{obj.Namespace, obj.Name}, Selects: labels.Everything()}
	if s, err := metav1.LabelSelectorAsSelector(&obj.Spec.PodSelector); err != nil {
		note(fmt.Errorf("spec.podSelector: %w", err))
	} else {
		p.Selects = s
	}
	p.Isolates = isolates(&obj.Spec)
	for i, r := range obj.Spec.Ingress {
		p.Rules[Ingress] = append(p.Rules[Ingress], rule(fmt.Sprintf("spec.ingress[%d]", i), r.From, r.Ports, note))
	}
	for i, r := range obj.Spec.Egress {
		p.Rules[Egress] = append(p.Rules[Egress], rule(fmt.Sprintf("spec.egress[%d]", i), r.To, r.Ports, note))
	}
	for _, d := range Directions {
		if !p.Isolates[d] {
			p.Rules[d] = nil
		}
	}
	return p, problems
}

// isolates is what policyTypes says, and what it means when it says nothing.
func isolates(spec *networkingv1.NetworkPolicySpec) (out [2]bool) {
	if len(spec.PolicyTypes) == 0 {
		return [2]bool{Ingress: true, Egress: len(spec.Egress) > 0}
	}
	for _, t := range spec.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			out[Ingress] = true
		case networkingv1.PolicyTypeEgress:
			out[Egress] = true
		}
	}
	return out
}

func rule(path string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, note func(error)) Rule {
	r := Rule{Anyone: len(peers) == 0, All: len(ports) == 0}
	for i := range peers {
		p, err := peer(&peers[i])
		if err != nil {
			note(fmt.Errorf("%s, peer %d: %w", path, i, err))
			continue
		}
		r.Peers = append(r.Peers, p)
	}
	for i := range ports {
		p, err := port(&ports[i])
		if err != nil {
			note(fmt.Errorf("%s, port %d: %w", path, i, err))
			continue
		}
		r.Ports = append(r.Ports, p)
	}
	return r
}

func peer(obj *networkingv1.NetworkPolicyPeer) (Peer, error) {
	if obj.IPBlock != nil {
		b, err := block(obj.IPBlock)
		return Peer{Block: b}, err
	}
	var p Peer
	var err error
	if obj.PodSelector != nil {
		if p.Pods, err = metav1.LabelSelectorAsSelector(obj.PodSelector); err != nil {
			return p, fmt.Errorf("podSelector: %w", err)
		}
	}
	if obj.NamespaceSelector != nil {
		if p.Namespaces, err = metav1.LabelSelectorAsSelector(obj.NamespaceSelector); err != nil {
			return p, fmt.Errorf("namespaceSelector: %w", err)
		}
	}
	if obj.PodSelector == nil && obj.NamespaceSelector == nil {
		return p, fmt.Errorf("it names no one")
	}
	return p, nil
}

func block(obj *networkingv1.IPBlock) (*Block, error) {
	all, err := netip.ParsePrefix(obj.CIDR)
	if err != nil {
		return nil, fmt.Errorf("ipBlock.cidr: %w", err)
	}
	b := &Block{Range: all.Masked()}
	for _, text := range obj.Except {
		e, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("ipBlock.except: %w", err)
		}
		b.Except = append(b.Except, e.Masked())
	}
	return b, nil
}

func port(obj *networkingv1.NetworkPolicyPort) (Port, error) {
	p := Port{Protocol: ProtocolOf(obj.Protocol)}
	switch {
	case p.Protocol == "":
		return p, fmt.Errorf("protocol %s has no ports", *obj.Protocol)
	case obj.Port == nil:
		p.To = 65535
	case obj.Port.Type == intstr.String:
		p.Name = obj.Port.StrVal
	case obj.Port.IntVal < 1 || obj.Port.IntVal > 65535 || obj.EndPort != nil && (*obj.EndPort < obj.Port.IntVal || *obj.EndPort > 65535):
		return p, fmt.Errorf("%d is no port, or its endPort none", obj.Port.IntVal)
	default:
		p.From, p.To = uint16(obj.Port.IntVal), uint16(obj.Port.IntVal)
		if obj.EndPort != nil {
			p.To = uint16(*obj.EndPort)
		}
	}
	return p, nil
}
