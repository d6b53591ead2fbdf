// Package forward asks other DNS servers for the names that are not the
// cluster's, and remembers what they said.
//
// Start with Resolver and its Resolve. Equal questions that are under way are
// asked once. The servers are tried in order, beginning with the one that
// answered last; an answer too long for UDP is fetched over TCP.
package forward

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

// ErrNoServers says that there is nobody to ask.
var ErrNoServers = errors.New("no DNS servers to forward to")

// The time for one server's answer, and for all of them.
const (
	attemptTimeout = 2 * time.Second
	totalTimeout   = 5 * time.Second
	udpSize        = 1232
)

// Options of a Resolver.
type Options struct {
	// Servers are addresses with or without a port, or files in the form of
	// resolv.conf, which are read again when they change. Empty: nobody.
	Servers []string
	// Not names addresses that are never asked, so that no question comes back here.
	Not       []string
	CacheSize int // answers remembered; 0: none
	// Exchange asks one server; nil is the network.
	Exchange func(ctx context.Context, m *dns.Msg, server string) (*dns.Msg, error)
}

// Resolver is safe for concurrent use.
type Resolver struct {
	servers  *servers
	cache    *cache
	flight   singleflight.Group
	exchange func(ctx context.Context, m *dns.Msg, server string) (*dns.Msg, error)
}

// New makes a Resolver. It asks nobody before the first Resolve.
func New(o Options) *Resolver {
	r := &Resolver{servers: newServers(o.Servers, o.Not), cache: newCache(o.CacheSize), exchange: o.Exchange}
	if r.exchange == nil {
		r.exchange = exchange
	}
	return r
}

// Enabled tells whether servers were configured at all.
func (r *Resolver) Enabled() bool { return r.servers.configured() }

// Question is what to ask. DO asks for signatures, CD for unchecked data.
type Question struct {
	Name        string // with the last dot
	Type, Class uint16
	DO, CD      bool
}

func (q Question) key() string {
	return fmt.Sprintf("%s/%d/%d/%t/%t", strings.ToLower(q.Name), q.Type, q.Class, q.DO, q.CD)
}

// Resolve gives an answer that the caller owns. The error is ErrNoServers, or
// that of the last server when none answered.
func (r *Resolver) Resolve(ctx context.Context, q Question) (*dns.Msg, error) {
	key := q.key()
	if m := r.cache.get(key, time.Now()); m != nil {
		return m, nil
	}
	result := r.flight.DoChan(key, func() (any, error) {
		// Not the asker's context: others may wait for the same answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), totalTimeout)
		defer cancel()
		m, err := r.ask(ctx, q)
		if err == nil {
			r.cache.put(key, m, time.Now())
		}
		return m, err
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case got := <-result:
		if got.Err != nil {
			return nil, got.Err
		}
		m, ok := got.Val.(*dns.Msg)
		if !ok {
			return nil, ErrNoServers
		}
		return m.Copy(), nil
	}
}

func (r *Resolver) ask(ctx context.Context, q Question) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(q.Name, q.Type)
	m.Question[0].Qclass = q.Class
	m.CheckingDisabled = q.CD
	m.SetEdns0(udpSize, q.DO)
	last := error(ErrNoServers)
	for _, server := range r.servers.inOrder(time.Now()) {
		answer, err := r.attempt(ctx, m, server)
		if err == nil {
			r.servers.good(server)
			return answer, nil
		}
		last = fmt.Errorf("asking %s: %w", server, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

func (r *Resolver) attempt(ctx context.Context, m *dns.Msg, server string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	answer, err := r.exchange(ctx, m, server)
	if err != nil {
		return nil, err
	}
	if len(answer.Question) != 1 || !strings.EqualFold(answer.Question[0].Name, m.Question[0].Name) || answer.Question[0].Qtype != m.Question[0].Qtype {
		return nil, errors.New("the answer is to another question")
	}
	if answer.Rcode == dns.RcodeServerFailure || answer.Rcode == dns.RcodeRefused {
		return nil, fmt.Errorf("answered %s", dns.RcodeToString[answer.Rcode])
	}
	answer.Extra = withoutOPT(answer.Extra)
	return answer, nil
}

// exchange asks over UDP, from a port of its own each time, and over TCP what
// did not fit.
func exchange(ctx context.Context, m *dns.Msg, server string) (*dns.Msg, error) {
	udp := dns.Client{Net: "udp", UDPSize: udpSize}
	answer, _, err := udp.ExchangeContext(ctx, m, server)
	if err == nil && answer.Truncated {
		tcp := dns.Client{Net: "tcp"}
		answer, _, err = tcp.ExchangeContext(ctx, m, server)
	}
	return answer, err
}

// withoutOPT drops what only concerns one hop.
func withoutOPT(extra []dns.RR) []dns.RR {
	kept := extra[:0]
	for _, rr := range extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			kept = append(kept, rr)
		}
	}
	return kept
}
