package service

import (
	"maps"
	"net/netip"
	"slices"
)

// Table holds all Services and slices and remembers which Services changed.
type Table struct {
	services map[Name]*Service
	slices   map[Name]map[string]*Slice // by Service, then by the slice's own name
	owner    map[Name]Name              // slice to Service; a slice's label may change
	dirty    map[Name]struct{}
	nodes    map[string][]netip.Addr // what others rely on to be nodes
}

// NewTable gives an empty one.
func NewTable() *Table {
	return &Table{
		services: map[Name]*Service{}, slices: map[Name]map[string]*Slice{},
		owner: map[Name]Name{}, dirty: map[Name]struct{}{}, nodes: map[string][]netip.Addr{},
	}
}

// SetService replaces the Service of that name; nil removes it. It reports
// whether anything that matters to the proxy changed.
func (t *Table) SetService(name Name, s *Service) bool {
	old := t.services[name]
	if s == nil && old == nil || s != nil && old != nil && s.equal(old) {
		return false
	}
	if s == nil {
		delete(t.services, name)
	} else {
		t.services[name] = s
	}
	t.dirty[name] = struct{}{}
	return true
}

// SetSlice replaces the slice of that name; nil removes it.
func (t *Table) SetSlice(name Name, s *Slice) bool {
	changed := false
	before, known := t.owner[name]
	if known && (s == nil || s.Service != before) {
		delete(t.slices[before], name.Name)
		if len(t.slices[before]) == 0 {
			delete(t.slices, before)
		}
		delete(t.owner, name)
		changed = t.touch(before)
	}
	if s == nil {
		return changed
	}
	if old := t.slices[s.Service][name.Name]; old != nil && s.equal(old) {
		return changed
	}
	if t.slices[s.Service] == nil {
		t.slices[s.Service] = map[string]*Slice{}
	}
	t.slices[s.Service][name.Name] = s
	t.owner[name] = s.Service
	return t.touch(s.Service) || changed
}

// touch marks a Service, if there is one to be told. Where the API is concerns all
// that have addresses of their owners' choice.
func (t *Table) touch(name Name) bool {
	if name == api {
		t.Recheck()
	}
	if t.services[name] == nil {
		return false
	}
	t.dirty[name] = struct{}{}
	return true
}

// SetNode replaces the addresses of the node of that name; none removes it.
func (t *Table) SetNode(name string, addrs []netip.Addr) bool {
	if slices.Equal(t.nodes[name], addrs) {
		return false
	}
	if len(addrs) == 0 {
		delete(t.nodes, name)
	} else {
		t.nodes[name] = addrs
	}
	return t.Recheck()
}

// Recheck marks the Services that have addresses of their owners' choice, for when it may
// be others now who have those, and tells whether there are any.
func (t *Table) Recheck() (any bool) {
	for name, s := range t.services {
		if len(s.ExternalIPs)+len(s.LoadBalancerIPs) > 0 {
			t.dirty[name], any = struct{}{}, true
		}
	}
	return any
}

// isNode tells whether an address is a node's.
func (t *Table) isNode(addr netip.Addr) bool {
	for _, addrs := range t.nodes {
		if slices.Contains(addrs, addr) {
			return true
		}
	}
	return false
}

// TakeDirty gives the Services changed since the last call, sorted.
func (t *Table) TakeDirty() []Name {
	names := slices.SortedFunc(maps.Keys(t.dirty), Name.Compare)
	clear(t.dirty)
	return names
}

// Dirty tells whether TakeDirty would give anything.
func (t *Table) Dirty() bool { return len(t.dirty) > 0 }

// Names gives every Service's, in no order.
func (t *Table) Names() []Name { return slices.Collect(maps.Keys(t.services)) }

// Service gives nil for one that is not there.
func (t *Table) Service(name Name) *Service { return t.services[name] }

// Ports is Ports for the Service of that name, without the addresses that the guard refuses; nil when there is none.
func (t *Table) Ports(name Name, node string, g *Guard) []Port {
	s := t.services[name]
	if s == nil {
		return nil
	}
	ports := Ports(s, slices.Collect(maps.Values(t.slices[name])), node)
	if name != api && len(s.ExternalIPs)+len(s.LoadBalancerIPs) > 0 {
		for i := range ports {
			ports[i].guard(g, t.apiAt(), t.isNode)
		}
	}
	return ports
}

// api is the Service of the API servers themselves.
var api = Name{Namespace: "default", Name: "kubernetes"}

// apiAt lists where API servers listen.
func (t *Table) apiAt() []netip.AddrPort {
	var out []netip.AddrPort
	for _, slice := range t.slices[api] {
		for _, port := range slice.Ports {
			for _, e := range slice.Endpoints {
				out = append(out, netip.AddrPortFrom(e.Addr, port.Number))
			}
		}
	}
	return out
}

// HealthChecked gives the Services with a health-check port.
func (t *Table) HealthChecked() []Name {
	var names []Name
	for name, s := range t.services {
		if s.HealthCheckNodePort != 0 {
			names = append(names, name)
		}
	}
	return names
}

// LocalReady counts the node's ready endpoints of a Service, for its health
// check: one that only drains tells the balancer to send no more.
func (t *Table) LocalReady(name Name, node string) int {
	seen := map[netip.Addr]struct{}{}
	for _, slice := range t.slices[name] {
		for _, e := range slice.Endpoints {
			if e.Ready && e.Node == node {
				seen[e.Addr] = struct{}{}
			}
		}
	}
	return len(seen)
}

// Compare orders names by namespace, then name.
func (n Name) Compare(o Name) int {
	if n.Namespace != o.Namespace {
		if n.Namespace < o.Namespace {
			return -1
		}
		return 1
	}
	switch {
	case n.Name < o.Name:
		return -1
	case n.Name > o.Name:
		return 1
	}
	return 0
}

func (s *Service) equal(o *Service) bool {
	return s.Name == o.Name && s.ClusterIP == o.ClusterIP && s.Affinity == o.Affinity &&
		s.InternalLocal == o.InternalLocal && s.ExternalLocal == o.ExternalLocal &&
		s.HealthCheckNodePort == o.HealthCheckNodePort &&
		(s.SourceRanges == nil) == (o.SourceRanges == nil) && slices.Equal(s.SourceRanges, o.SourceRanges) &&
		slices.Equal(s.ExternalIPs, o.ExternalIPs) && slices.Equal(s.LoadBalancerIPs, o.LoadBalancerIPs) &&
		slices.Equal(s.Ports, o.Ports)
}

func (s *Slice) equal(o *Slice) bool {
	return s.Service == o.Service && slices.Equal(s.Ports, o.Ports) && slices.Equal(s.Endpoints, o.Endpoints)
}
