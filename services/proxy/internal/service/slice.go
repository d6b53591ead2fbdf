package service

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Slice is what the proxy keeps of an EndpointSlice.
type Slice struct {
	Service   Name
	Ports     []SlicePort
	Endpoints []Endpoint
}

// SlicePort says at which number the endpoints serve a Service's port of that
// name and protocol; named target ports were resolved by who wrote the slice.
type SlicePort struct {
	Name     string
	Protocol string
	Number   uint16
}

// Endpoint is one backend. Ready implies Serving.
type Endpoint struct {
	Addr        netip.Addr
	Node        string // empty: unknown
	Ready       bool
	Serving     bool
	Terminating bool
}

// FromSliceObject gives nil for a slice that is not the proxy's business: other
// families, no Service named, or a headless one's.
func FromSliceObject(obj *discoveryv1.EndpointSlice) *Slice {
	service := obj.Labels[discoveryv1.LabelServiceName]
	_, headless := obj.Labels[corev1.IsHeadlessService]
	if obj.AddressType != discoveryv1.AddressTypeIPv4 || service == "" || headless {
		return nil
	}
	s := &Slice{Service: Name{obj.Namespace, service}}
	for i := range obj.Ports {
		p := &obj.Ports[i]
		if p.Port == nil {
			continue
		}
		port := SlicePort{Protocol: "tcp", Number: uint16(*p.Port)}
		if p.Name != nil {
			port.Name = *p.Name
		}
		if p.Protocol != nil {
			port.Protocol = protocol(*p.Protocol)
		}
		s.Ports = append(s.Ports, port)
	}
	for i := range obj.Endpoints {
		if e, ok := fromEndpoint(&obj.Endpoints[i]); ok {
			s.Endpoints = append(s.Endpoints, e)
		}
	}
	return s
}

// fromEndpoint reads absent conditions as the API says: ready unless told
// otherwise, serving as ready, not terminating. Only the first address counts.
func fromEndpoint(obj *discoveryv1.Endpoint) (Endpoint, bool) {
	if len(obj.Addresses) == 0 {
		return Endpoint{}, false
	}
	addr, err := netip.ParseAddr(obj.Addresses[0])
	if err != nil || !addr.Is4() {
		return Endpoint{}, false
	}
	c := &obj.Conditions
	e := Endpoint{Addr: addr, Ready: c.Ready == nil || *c.Ready}
	e.Serving = e.Ready
	if c.Serving != nil {
		e.Serving = *c.Serving || e.Ready
	}
	e.Terminating = c.Terminating != nil && *c.Terminating
	if obj.NodeName != nil {
		e.Node = *obj.NodeName
	}
	return e, true
}
