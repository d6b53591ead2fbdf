// Package zone is the cluster's domain: the records that Services, their
// endpoints, Namespaces and pods have by the Kubernetes DNS specification 1.1.0,
// kept up to date one object at a time, and the answers that follow from them.
//
// Start with Zone: SetService, SetSlice and SetNamespace change it, Answer reads
// it. It is safe for concurrent use; a change is in every answer that begins
// after the call returns.
package zone

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"kubus.dev/services/dns/internal/wire"
)

// Version of the specification, as dns-version tells it.
const Version = "1.1.0"

// Options of a Zone.
type Options struct {
	Domain  string         // such as cluster.local
	Server  netip.Addr     // address of the DNS Service
	TTL     uint32         // seconds
	Reverse []netip.Prefix // addresses whose names nobody else knows
	Serial  uint32         // of the SOA, at the start; grows with each change
}

// Zone is the domain's content.
type Zone struct {
	ttl      uint32
	domain   wire.Name
	services wire.Name // svc.<domain>
	pods     wire.Name // pod.<domain>
	reverse  []reverseZone

	mu       sync.RWMutex // guards what follows
	soa      wire.SOA
	nodes    map[wire.Name]*node
	pointers map[netip.Addr][]pointer
	objects  map[Key]*Service
	slices   map[Key]map[string]*Slice // by Service, then by the slice's own name
	owner    map[Key]Key               // slice to Service
	built    map[Key]built             // what each Service has in nodes and pointers
}

type pointer struct {
	from   Key
	target wire.Name
}

type built struct {
	names []wire.Name
	addrs []netip.Addr
}

type reverseZone struct {
	prefix netip.Prefix
	name   wire.Name
}

// New gives the zone of a cluster without objects.
func New(o Options) (*Zone, error) {
	domain, err := wire.ParseName(o.Domain)
	if err != nil || len(domain) < 2 {
		return nil, fmt.Errorf("domain %q: %w", o.Domain, wire.ErrName)
	}
	z := &Zone{
		ttl: o.TTL, domain: domain,
		nodes: map[wire.Name]*node{}, pointers: map[netip.Addr][]pointer{},
		objects: map[Key]*Service{}, slices: map[Key]map[string]*Slice{}, owner: map[Key]Key{}, built: map[Key]built{},
	}
	fixed := func(n *node, labels ...string) wire.Name {
		name, nameErr := domain.Under(labels...)
		if nameErr != nil {
			err = fmt.Errorf("domain %q is too long: %w", o.Domain, nameErr)
			return domain
		}
		z.nodes[name] = n
		return name
	}
	fixed(&node{})
	z.services, z.pods = fixed(&node{}, "svc"), fixed(&node{}, "pod")
	fixed(&node{text: Version}, "dns-version")
	fixed(&node{}, "dns")
	server := fixed(&node{addrs: []netip.Addr{o.Server}}, "ns", "dns")
	mailbox, mailErr := domain.Under("hostmaster")
	if err != nil || mailErr != nil {
		return nil, fmt.Errorf("domain %q is too long: %w", o.Domain, wire.ErrName)
	}
	z.soa = wire.SOA{Zone: domain, Server: server, Mailbox: mailbox, Serial: o.Serial, TTL: o.TTL}
	for _, p := range o.Reverse {
		if p.Addr().Is4() {
			z.reverse = append(z.reverse, reverseZone{p.Masked(), reverseName(p)})
		}
	}
	return z, nil
}

// reverseName is the name of the smallest zone under in-addr.arpa that holds p.
func reverseName(p netip.Prefix) wire.Name {
	name := wire.Reverse(p.Masked().Addr())
	for range 4 - p.Bits()/8 {
		_, name = name.First()
	}
	return name
}

// SetService replaces a Service; nil removes it.
func (z *Zone) SetService(key Key, s *Service) {
	z.mu.Lock()
	defer z.mu.Unlock()
	old := z.objects[key]
	if s == nil && old == nil || s != nil && old != nil && s.Equal(old) {
		return
	}
	if s == nil {
		delete(z.objects, key)
	} else {
		z.objects[key] = s
	}
	z.rebuild(key)
}

// SetSlice replaces a slice; nil removes it.
func (z *Zone) SetSlice(key Key, s *Slice) {
	z.mu.Lock()
	defer z.mu.Unlock()
	before, known := z.owner[key]
	if known && (s == nil || s.Service != before) {
		delete(z.owner, key)
		delete(z.slices[before], key.Name)
		if len(z.slices[before]) == 0 {
			delete(z.slices, before)
		}
		z.rebuildHeadless(before)
	}
	if s == nil {
		return
	}
	if old := z.slices[s.Service][key.Name]; old != nil && old.Equal(s) {
		return
	}
	if z.slices[s.Service] == nil {
		z.slices[s.Service] = map[string]*Slice{}
	}
	z.slices[s.Service][key.Name] = s
	z.owner[key] = s.Service
	z.rebuildHeadless(s.Service)
}

// SetNamespace says whether a Namespace exists.
func (z *Zone) SetNamespace(name string, exists bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, base := range []wire.Name{z.services, z.pods} {
		full, err := base.Under(name)
		if err != nil {
			return
		}
		if exists {
			z.nodes[full] = &node{}
		} else {
			delete(z.nodes, full)
		}
	}
	z.soa.Serial++
}

// rebuildHeadless rebuilds a Service whose endpoints are in the zone.
func (z *Zone) rebuildHeadless(key Key) {
	if s := z.objects[key]; s != nil && s.Headless() {
		z.rebuild(key)
	}
}

// rebuild replaces all that a Service has in the zone; readers see either.
func (z *Zone) rebuild(key Key) {
	old := z.built[key]
	for _, name := range old.names {
		delete(z.nodes, name)
	}
	for _, addr := range old.addrs {
		z.pointers[addr] = slices.DeleteFunc(z.pointers[addr], func(p pointer) bool { return p.from == key })
		if len(z.pointers[addr]) == 0 {
			delete(z.pointers, addr)
		}
	}
	delete(z.built, key)
	z.soa.Serial++
	s := z.objects[key]
	if s == nil {
		return
	}
	r := build(z.services, s, slices.Collect(maps.Values(z.slices[key])))
	maps.Copy(z.nodes, r.nodes)
	now := built{names: names(r.nodes)}
	for addr, target := range r.pointers {
		z.pointers[addr] = append(z.pointers[addr], pointer{key, target})
		now.addrs = append(now.addrs, addr)
	}
	z.built[key] = now
}

// Len is the number of names.
func (z *Zone) Len() int {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return len(z.nodes) + len(z.pointers)
}
