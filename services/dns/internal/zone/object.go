package zone

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Key names a Service, or a slice of one.
type Key struct{ Namespace, Name string }

// Service is what DNS keeps of a v1.Service.
type Service struct {
	Key
	ClusterIPs   []netip.Addr // none: headless, or ExternalName
	ExternalName string
	Ports        []Port
}

// Headless tells whether the endpoints' addresses stand for the Service.
func (s *Service) Headless() bool { return len(s.ClusterIPs) == 0 && s.ExternalName == "" }

// Port is a named port; ports without a name have no SRV record.
type Port struct {
	Name     string
	Protocol string // tcp, udp or sctp
	Number   uint16
}

// Slice is what DNS keeps of an EndpointSlice: the ready endpoints.
type Slice struct {
	Service   Key
	Ports     []Port
	Endpoints []Endpoint
}

// Endpoint is one address and the label it is known by.
type Endpoint struct {
	Label string
	Addr  netip.Addr
}

// FromService gives nil for a Service that has no records: one whose external
// name is an address, and one that has no address yet.
func FromService(obj *corev1.Service) *Service {
	spec := &obj.Spec
	s := &Service{Key: Key{obj.Namespace, obj.Name}}
	if spec.Type == corev1.ServiceTypeExternalName {
		if _, err := netip.ParseAddr(spec.ExternalName); err == nil {
			return nil
		}
		s.ExternalName = strings.TrimSuffix(spec.ExternalName, ".")
		if s.ExternalName == "" {
			return nil
		}
		return s
	}
	if spec.ClusterIP == "" {
		return nil
	}
	if spec.ClusterIP != corev1.ClusterIPNone {
		for _, text := range append([]string{spec.ClusterIP}, spec.ClusterIPs...) {
			if addr, err := netip.ParseAddr(text); err == nil && !slices.Contains(s.ClusterIPs, addr) {
				s.ClusterIPs = append(s.ClusterIPs, addr)
			}
		}
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		if p.Name != "" {
			s.Ports = append(s.Ports, Port{p.Name, protocol(p.Protocol), uint16(p.Port)})
		}
	}
	return s
}

// FromSlice gives nil for a slice that belongs to no Service or has no addresses.
func FromSlice(obj *discoveryv1.EndpointSlice) *Slice {
	service := obj.Labels[discoveryv1.LabelServiceName]
	if service == "" || obj.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	s := &Slice{Service: Key{obj.Namespace, service}}
	for i := range obj.Ports {
		p := &obj.Ports[i]
		if p.Port == nil || p.Name == nil || *p.Name == "" {
			continue
		}
		port := Port{Name: *p.Name, Protocol: "tcp", Number: uint16(*p.Port)}
		if p.Protocol != nil {
			port.Protocol = protocol(*p.Protocol)
		}
		s.Ports = append(s.Ports, port)
	}
	for i := range obj.Endpoints {
		e := &obj.Endpoints[i]
		if e.Conditions.Ready != nil && !*e.Conditions.Ready {
			continue
		}
		for _, text := range e.Addresses {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			label := dashed(addr)
			if e.Hostname != nil && *e.Hostname != "" {
				label = *e.Hostname
			}
			s.Endpoints = append(s.Endpoints, Endpoint{label, addr})
		}
	}
	return s
}

// Equal tells whether two slices have the same records.
func (s *Slice) Equal(o *Slice) bool {
	return s.Service == o.Service && slices.Equal(s.Ports, o.Ports) && slices.Equal(s.Endpoints, o.Endpoints)
}

// Equal tells whether two Services have the same records.
func (s *Service) Equal(o *Service) bool {
	return s.Key == o.Key && s.ExternalName == o.ExternalName &&
		slices.Equal(s.ClusterIPs, o.ClusterIPs) && slices.Equal(s.Ports, o.Ports)
}

func protocol(p corev1.Protocol) string {
	if p == "" {
		return "tcp"
	}
	return strings.ToLower(string(p))
}

// dashed is an address as a label: 10-244-0-5, 2001-db8--1.
func dashed(addr netip.Addr) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == ':' {
			return '-'
		}
		return r
	}, addr.String())
}

// undashed is the inverse of dashed.
func undashed(label string) (netip.Addr, bool) {
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", "."))
		if err == nil {
			return addr, true
		}
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	return addr, err == nil && addr.Is6()
}
