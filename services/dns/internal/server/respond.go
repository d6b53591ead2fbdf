// Package server answers DNS packets over UDP and TCP: the cluster's names from
// its zone, at once; other names by asking elsewhere, beside the stream of
// packets.
//
// Start with Handler, which turns a packet into an answer and knows no socket,
// and Server, which has the sockets.
package server

import (
	"context"
	"errors"

	"github.com/miekg/dns"

	"kubus.dev/services/dns/internal/forward"
	"kubus.dev/services/dns/internal/wire"
	"kubus.dev/services/dns/internal/zone"
)

// Handler is safe for concurrent use.
type Handler struct {
	Zone    *zone.Zone
	Forward *forward.Resolver
}

// Respond appends the answer to a packet to dst. slow: somebody else has to be
// asked, call Recurse, which may wait. nil and not slow: a packet that gets no
// answer. q is the caller's memory. limit is the transport's, 0 for UDP.
func (h *Handler) Respond(dst, packet []byte, q *wire.Query, limit int) (answer []byte, slow bool) {
	recursion := h.Forward.Enabled()
	switch problem := wire.Parse(packet, q); problem {
	case wire.NoProblem:
	case wire.Silent:
		return nil, false
	default:
		return wire.Fail(dst, q, problem.Code(), recursion), false
	}
	if q.Class != wire.ClassIN && q.Class != wire.ClassANY || q.Type == wire.TypeAXFR || q.Type == wire.TypeIXFR {
		return wire.Fail(dst, q, wire.Refused, recursion), false
	}
	var w wire.Writer
	w.Start(dst, q, limitOf(q, limit), recursion)
	out := h.Zone.Answer(q, &w)
	if out.Elsewhere || out.Chase != "" {
		if recursion && q.RecursionDesired() {
			return nil, true
		}
		if out.Elsewhere {
			return wire.Fail(dst, q, wire.Refused, recursion), false
		}
	}
	if out.Code == wire.ServerFailure {
		return wire.Fail(dst, q, wire.ServerFailure, recursion), false
	}
	return w.Finish(out.Code), false
}

func limitOf(q *wire.Query, limit int) int {
	if limit == 0 {
		return q.Limit()
	}
	return limit
}

// Recurse is Respond's second half, for a packet that it called slow.
func (h *Handler) Recurse(ctx context.Context, packet []byte, limit int) []byte {
	var q wire.Query
	if wire.Parse(packet, &q) != wire.NoProblem {
		return nil
	}
	var w wire.Writer
	w.Start(nil, &q, wire.TCPSize, true)
	out := h.Zone.Answer(&q, &w)
	question := forward.Question{Name: q.Name().String(), Type: q.Type, Class: q.Class, DO: q.DO, CD: q.CheckingDisabled()}
	reply := new(dns.Msg)
	if err := reply.Unpack(w.Finish(out.Code)); err != nil {
		return wire.Fail(nil, &q, wire.ServerFailure, true)
	}
	if out.Chase != "" {
		question.Name = out.Chase.String()
	} else if !out.Elsewhere {
		return w.Finish(out.Code) // it has become ours meanwhile
	}
	found, err := h.Forward.Resolve(ctx, question)
	switch {
	case errors.Is(err, forward.ErrNoServers):
		return wire.Fail(nil, &q, wire.Refused, true)
	case err != nil:
		return wire.Fail(nil, &q, wire.ServerFailure, true)
	}
	reply.Rcode = found.Rcode
	reply.Authoritative = false
	reply.AuthenticatedData = found.AuthenticatedData && out.Chase == ""
	reply.Answer = append(reply.Answer, found.Answer...)
	reply.Ns = found.Ns
	reply.Extra = append(found.Extra, reply.Extra...) // ours holds the OPT
	return pack(reply, &q, limitOf(&q, limit))
}

func pack(m *dns.Msg, q *wire.Query, limit int) []byte {
	m.Compress = true
	m.Truncate(limit)
	out, err := m.Pack()
	if err != nil {
		return wire.Fail(nil, q, wire.ServerFailure, true)
	}
	return out
}
