// Package service is the proxy's picture of Services and their endpoints: what
// the kernel must know, and nothing else of the objects.
//
// Start with Service and Slice (what is kept of an object), Table (all of them,
// and which changed), and Ports (the pure step from both to what a packet may
// meet). The rules for choosing endpoints are those of Kubernetes' "Virtual IPs
// and Service Proxies"; IPv4 only. Nothing here does I/O. A Table is not safe
// for concurrent use.
package service

import (
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Name names a Service.
type Name struct{ Namespace, Name string }

func (n Name) String() string { return n.Namespace + "/" + n.Name }

// Service is what the proxy keeps of a v1.Service.
type Service struct {
	Name                Name
	ClusterIP           netip.Addr // always valid
	ExternalIPs         []netip.Addr
	LoadBalancerIPs     []netip.Addr
	SourceRanges        []netip.Prefix // nil: everybody may come
	Affinity            time.Duration  // 0: none
	InternalLocal       bool
	ExternalLocal       bool
	HealthCheckNodePort uint16
	Ports               []ServicePort
}

// ServicePort is one entry of spec.ports.
type ServicePort struct {
	Name     string
	Protocol string // tcp, udp or sctp
	Port     uint16
	NodePort uint16 // 0: none
}

// defaultAffinity is ClientIPConfig's default timeout.
const defaultAffinity = 3 * time.Hour

// labelServiceProxyName hands a Service to another proxy.
const labelServiceProxyName = "service.kubernetes.io/service-proxy-name"

// FromObject gives nil for a Service that is none of the proxy's business:
// headless, ExternalName, without an IPv4 ClusterIP, or another proxy's by label.
func FromObject(obj *corev1.Service) *Service {
	spec := &obj.Spec
	if spec.Type == corev1.ServiceTypeExternalName || obj.Labels[labelServiceProxyName] != "" {
		return nil
	}
	clusterIP := firstIPv4(append([]string{spec.ClusterIP}, spec.ClusterIPs...))
	if !clusterIP.IsValid() {
		return nil
	}
	s := &Service{
		Name:          Name{obj.Namespace, obj.Name},
		ClusterIP:     clusterIP,
		ExternalIPs:   addrs(spec.ExternalIPs),
		InternalLocal: spec.InternalTrafficPolicy != nil && *spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		ExternalLocal: spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
	}
	if spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		s.Affinity = defaultAffinity
		if c := spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			s.Affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		s.fromLoadBalancer(obj)
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		s.Ports = append(s.Ports, ServicePort{
			Name: p.Name, Protocol: protocol(p.Protocol), Port: uint16(p.Port), NodePort: uint16(p.NodePort),
		})
	}
	return s
}

func (s *Service) fromLoadBalancer(obj *corev1.Service) {
	for _, ingress := range obj.Status.LoadBalancer.Ingress {
		// With ipMode Proxy the packets arrive with a node's address, and the
		// balancer's own address must not be short-cut.
		if ingress.IPMode != nil && *ingress.IPMode == corev1.LoadBalancerIPModeProxy {
			continue
		}
		s.LoadBalancerIPs = append(s.LoadBalancerIPs, addrs([]string{ingress.IP})...)
	}
	for _, r := range obj.Spec.LoadBalancerSourceRanges {
		if prefix, err := netip.ParsePrefix(strings.TrimSpace(r)); err == nil && prefix.Addr().Is4() {
			s.SourceRanges = append(s.SourceRanges, prefix.Masked())
		}
	}
	if len(obj.Spec.LoadBalancerSourceRanges) > 0 && s.SourceRanges == nil {
		s.SourceRanges = []netip.Prefix{} // ranges of another family only: nobody of this one
	}
	if s.ExternalLocal {
		s.HealthCheckNodePort = uint16(obj.Spec.HealthCheckNodePort)
	}
}

func protocol(p corev1.Protocol) string {
	if p == "" {
		return "tcp"
	}
	return strings.ToLower(string(p))
}

func firstIPv4(texts []string) netip.Addr {
	if found := addrs(texts); len(found) > 0 {
		return found[0]
	}
	return netip.Addr{}
}

// addrs keeps the IPv4 addresses of texts.
func addrs(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil && addr.Is4() {
			out = append(out, addr)
		}
	}
	return out
}
