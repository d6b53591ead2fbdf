package policy

import (
	"cmp"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Name is an object's.
type Name struct{ Namespace, Name string }

func (n Name) String() string { return n.Namespace + "/" + n.Name }

// Compare orders by namespace, then name.
func (n Name) Compare(o Name) int {
	return cmp.Or(cmp.Compare(n.Namespace, o.Namespace), cmp.Compare(n.Name, o.Name))
}

// Pod is what policies see of a pod with an address of its own.
type Pod struct {
	Name
	Labels labels.Set
	Node   string
	Addr   netip.Addr // IPv4
	Ports  []PodPort  // that have a name
	// Created settles which of two pods has an address that both report: the later one.
	Created time.Time
}

// PodPort is a port that a container names.
type PodPort struct {
	Name     string
	Protocol Protocol
	Number   uint16
}

// FromPod gives nil for a pod without an address of its own: not there yet, over, or on its
// node's network.
func FromPod(obj *corev1.Pod) *Pod {
	if obj.Spec.HostNetwork || obj.Status.Phase == corev1.PodSucceeded || obj.Status.Phase == corev1.PodFailed {
		return nil
	}
	addr, ok := address(obj)
	if !ok {
		return nil
	}
	p := &Pod{Name: Name{obj.Namespace, obj.Name}, Labels: obj.Labels, Node: obj.Spec.NodeName, Addr: addr, Created: obj.CreationTimestamp.Time}
	for i := range obj.Spec.InitContainers {
		if c := &obj.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			p.add(c)
		}
	}
	for i := range obj.Spec.Containers {
		p.add(&obj.Spec.Containers[i])
	}
	return p
}

func address(obj *corev1.Pod) (netip.Addr, bool) {
	list := []string{obj.Status.PodIP}
	for _, ip := range obj.Status.PodIPs {
		list = append(list, ip.IP)
	}
	for _, text := range list {
		if addr, err := netip.ParseAddr(text); err == nil && addr.Unmap().Is4() {
			return addr.Unmap(), true
		}
	}
	return netip.Addr{}, false
}

func (p *Pod) add(c *corev1.Container) {
	for _, port := range c.Ports {
		if port.Name != "" {
			p.Ports = append(p.Ports, PodPort{port.Name, ProtocolOf(&port.Protocol), uint16(port.ContainerPort)})
		}
	}
}

// Port finds the number of a named port.
func (p *Pod) Port(name string, of Protocol) (uint16, bool) {
	for _, port := range p.Ports {
		if port.Name == name && port.Protocol == of {
			return port.Number, true
		}
	}
	return 0, false
}

// later tells whether the address is p's rather than o's, where both report it.
func (p *Pod) later(o *Pod) bool {
	return cmp.Or(p.Created.Compare(o.Created), p.Compare(o.Name)) > 0
}
