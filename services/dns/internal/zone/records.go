package zone

import (
	"maps"
	"net/netip"
	"slices"

	"kubus.dev/services/dns/internal/wire"
)

// node is what stands at one name. One without anything exists only so that
// names below it do: it answers "no such data", not "no such name".
type node struct {
	addrs []netip.Addr
	srvs  []srv
	cname wire.Name
	text  string
}

type srv struct {
	port   uint16
	target wire.Name
	addrs  []netip.Addr // of the target
}

// records is all that one Service puts into the zone.
type records struct {
	nodes    map[wire.Name]*node
	pointers map[netip.Addr]wire.Name
}

// build gives the records of a Service, as the DNS specification of Kubernetes
// 1.1.0, sections 2.3 to 2.5, asks for. base is the zone of Services, such as
// svc.cluster.local. Names that DNS cannot hold are left out.
func build(base wire.Name, s *Service, slicesOf []*Slice) records {
	r := records{nodes: map[wire.Name]*node{}, pointers: map[netip.Addr]wire.Name{}}
	name, err := base.Under(s.Name, s.Namespace)
	if err != nil {
		return r
	}
	switch {
	case s.ExternalName != "":
		if target, err := wire.ParseName(s.ExternalName); err == nil {
			r.nodes[name] = &node{cname: target}
		}
	case s.Headless():
		r.headless(name, slicesOf)
	default:
		r.clusterIP(name, s)
	}
	return r
}

func (r *records) clusterIP(name wire.Name, s *Service) {
	r.nodes[name] = &node{addrs: s.ClusterIPs}
	for _, p := range s.Ports {
		r.service(name, p, srv{port: p.Number, target: name, addrs: s.ClusterIPs})
	}
	for _, addr := range s.ClusterIPs {
		r.pointers[addr] = name
	}
}

// headless has the endpoints' addresses at its name, and each endpoint at a name
// of its own below. Without ready endpoints it has no name, as in CoreDNS.
func (r *records) headless(name wire.Name, slicesOf []*Slice) {
	self := &node{}
	for _, slice := range sorted(slicesOf) {
		for _, e := range slice.Endpoints {
			target, err := name.Under(e.Label)
			if err != nil {
				continue
			}
			if !slices.Contains(self.addrs, e.Addr) {
				self.addrs = append(self.addrs, e.Addr)
			}
			at := r.nodes[target]
			if at == nil {
				at = &node{}
				r.nodes[target] = at
			}
			if !slices.Contains(at.addrs, e.Addr) {
				at.addrs = append(at.addrs, e.Addr)
			}
			if _, taken := r.pointers[e.Addr]; !taken {
				r.pointers[e.Addr] = target
			}
			for _, p := range slice.Ports {
				r.service(name, p, srv{port: p.Number, target: target, addrs: at.addrs})
			}
		}
	}
	if len(self.addrs) > 0 {
		r.nodes[name] = self
	}
}

// service adds one SRV record at _port._protocol.name, once.
func (r *records) service(name wire.Name, p Port, record srv) {
	full, err := name.Under("_"+p.Name, "_"+p.Protocol)
	if err != nil {
		return
	}
	at := r.nodes[full]
	if at == nil {
		at = &node{}
		r.nodes[full] = at
		_, between := full.First()
		r.nodes[between] = &node{}
	}
	for _, there := range at.srvs {
		if there.port == record.port && there.target == record.target {
			return
		}
	}
	at.srvs = append(at.srvs, record)
}

// sorted gives the slices in an order that does not depend on a map's.
func sorted(in []*Slice) []*Slice {
	out := slices.Clone(in)
	slices.SortStableFunc(out, func(a, b *Slice) int {
		if len(a.Endpoints) == 0 || len(b.Endpoints) == 0 {
			return len(a.Endpoints) - len(b.Endpoints)
		}
		return a.Endpoints[0].Addr.Compare(b.Endpoints[0].Addr)
	})
	return out
}

func names(nodes map[wire.Name]*node) []wire.Name { return slices.Collect(maps.Keys(nodes)) }
