package zone

import (
	"kubus.dev/services/dns/internal/wire"
)

// Outcome is what became of a question.
type Outcome struct {
	// Code is the response code, when the question was about our names.
	Code int
	// Elsewhere: not our name, nothing was written.
	Elsewhere bool
	// Chase: what was written ends in an alias to this name of another zone.
	Chase wire.Name
}

// mostAliases bounds a chain of aliases.
const mostAliases = 8

// Answer writes the records for a question of class IN.
func (z *Zone) Answer(q *wire.Query, w *wire.Writer) Outcome {
	z.mu.RLock()
	defer z.mu.RUnlock()
	name := q.NameBytes()
	if !below(name, z.domain) {
		return z.answerPointer(q, w)
	}
	w.Authoritative()
	at := z.nodes[wire.Name(name)]
	if at == nil {
		at = z.pod(name)
	}
	if at == nil {
		return z.negative(w, wire.NameError)
	}
	return z.answerNode(q, w, at, string(name) == string(z.domain))
}

// below is Name.Below for a name that is no string yet.
func below(name []byte, parent wire.Name) bool {
	for i := 0; len(name)-i >= len(parent); i += 1 + int(name[i]) {
		if string(name[i:]) == string(parent) {
			return true
		}
		if name[i] == 0 {
			return false
		}
	}
	return false
}

func (z *Zone) answerNode(q *wire.Query, w *wire.Writer, at *node, apex bool) Outcome {
	owner := wire.Asked
	for aliases := 0; at.cname != ""; aliases++ {
		if aliases == mostAliases {
			return Outcome{Code: wire.ServerFailure}
		}
		w.Target(owner, wire.TypeCNAME, at.cname, z.ttl)
		if q.Type == wire.TypeCNAME {
			return Outcome{}
		}
		owner = at.cname
		if !owner.Below(z.domain) {
			return Outcome{Chase: owner}
		}
		next := z.nodes[owner]
		if next == nil {
			next = z.pod([]byte(owner))
		}
		if next == nil {
			return z.negative(w, wire.NameError)
		}
		at, apex = next, owner == z.domain
	}
	if !z.write(q, w, at, owner, apex) {
		return z.negative(w, wire.Success)
	}
	return Outcome{}
}

// write adds the records of the asked type; false when there are none.
func (z *Zone) write(q *wire.Query, w *wire.Writer, at *node, owner wire.Name, apex bool) bool {
	all := q.Type == wire.TypeANY
	wrote := false
	if q.Type == wire.TypeA || q.Type == wire.TypeAAAA || all {
		// A different one first each time: many clients take the first.
		n := len(at.addrs)
		for i := range n {
			addr := at.addrs[(i+int(q.ID()))%n]
			if all || addr.Is4() == (q.Type == wire.TypeA) {
				w.Address(owner, addr, z.ttl)
				wrote = true
			}
		}
	}
	if q.Type == wire.TypeSRV || all {
		z.writeServices(w, at, owner)
		wrote = wrote || len(at.srvs) > 0
	}
	if (q.Type == wire.TypeTXT || all) && at.text != "" {
		w.Text(owner, at.text, z.ttl)
		wrote = true
	}
	if apex && (q.Type == wire.TypeSOA || all) {
		w.SOA(&z.soa)
		wrote = true
	}
	if apex && (q.Type == wire.TypeNS || all) {
		w.Target(owner, wire.TypeNS, z.soa.Server, z.ttl)
		wrote = true
	}
	return wrote
}

// writeServices gives each record an equal weight, and the targets' addresses
// where there is room.
func (z *Zone) writeServices(w *wire.Writer, at *node, owner wire.Name) {
	for i := range at.srvs {
		s := &at.srvs[i]
		w.Service(owner, 0, uint16(max(100/len(at.srvs), 1)), s.port, s.target, z.ttl)
	}
	if len(at.srvs) == 0 || w.Truncated() {
		return
	}
	w.Additional()
	for i := range at.srvs {
		for _, addr := range at.srvs[i].addrs {
			w.Address(at.srvs[i].target, addr, z.ttl)
		}
	}
}

// pod answers a-b-c-d.namespace.pod: the address the name itself holds, whether a
// pod has it or not.
func (z *Zone) pod(name []byte) *node {
	if len(name) == 0 || name[0] == 0 || !below(name, z.pods) {
		return nil
	}
	l := int(name[0])
	namespace := name[1+l:]
	if z.nodes[wire.Name(namespace)] == nil || len(namespace) <= len(z.pods) {
		return nil
	}
	addr, ok := undashed(string(name[1 : 1+l]))
	if !ok {
		return nil
	}
	n := &node{}
	n.addrs = append(n.addrs, addr)
	return n
}

func (z *Zone) negative(w *wire.Writer, code int) Outcome {
	w.Authority()
	w.SOA(&z.soa)
	return Outcome{Code: code}
}

func (z *Zone) answerPointer(q *wire.Query, w *wire.Writer) Outcome {
	if !below(q.NameBytes(), "\x07in-addr\x04arpa\x00") {
		return Outcome{Elsewhere: true}
	}
	addr, ok := q.Name().Address()
	pointers := z.pointers[addr]
	if ok && len(pointers) > 0 {
		w.Authoritative()
		if q.Type == wire.TypePTR || q.Type == wire.TypeANY {
			for _, p := range pointers {
				w.Target(wire.Asked, wire.TypePTR, p.target, z.ttl)
			}
			return Outcome{}
		}
		return z.negativeReverse(q, w, wire.Success)
	}
	for i := range z.reverse {
		if r := &z.reverse[i]; below(q.NameBytes(), r.name) && (!ok || r.prefix.Contains(addr)) {
			w.Authoritative()
			return z.negativeReverse(q, w, wire.NameError)
		}
	}
	return Outcome{Elsewhere: true}
}

// negativeReverse names the reverse zone in its SOA, where we have one.
func (z *Zone) negativeReverse(q *wire.Query, w *wire.Writer, code int) Outcome {
	soa := z.soa
	for i := range z.reverse {
		if below(q.NameBytes(), z.reverse[i].name) {
			soa.Zone = z.reverse[i].name
			w.Authority()
			w.SOA(&soa)
			break
		}
	}
	return Outcome{Code: code}
}
