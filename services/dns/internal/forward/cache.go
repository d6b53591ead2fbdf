package forward

import (
	"container/list"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// The bounds on how long an answer is remembered.
const (
	mostTTL         = time.Hour
	mostNegativeTTL = 30 * time.Second
)

// cache keeps answers until their shortest TTL is over, the recently used ones
// when there are too many.
type cache struct {
	size int

	mu      sync.Mutex // guards what follows
	entries map[string]*list.Element
	used    *list.List // of *remembered, most recently used first
}

type remembered struct {
	key    string
	answer *dns.Msg
	stored time.Time
	until  time.Time
}

func newCache(size int) *cache {
	return &cache{size: size, entries: map[string]*list.Element{}, used: list.New()}
}

// get gives a copy whose TTLs have run on, or nil.
func (c *cache) get(key string, now time.Time) *dns.Msg {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		return nil
	}
	r, ok := e.Value.(*remembered)
	if !ok || !now.Before(r.until) {
		c.remove(e)
		return nil
	}
	c.used.MoveToFront(e)
	m := r.answer.Copy()
	age(m, uint32(now.Sub(r.stored)/time.Second))
	return m
}

func (c *cache) put(key string, m *dns.Msg, now time.Time) {
	ttl := lifetime(m)
	if c.size == 0 || ttl <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		c.remove(e)
	}
	c.entries[key] = c.used.PushFront(&remembered{key, m.Copy(), now, now.Add(ttl)})
	for c.used.Len() > c.size {
		c.remove(c.used.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	if r, ok := c.used.Remove(e).(*remembered); ok {
		delete(c.entries, r.key)
	}
}

// lifetime is how long an answer holds: its records' shortest TTL, or for a
// negative one what its SOA says (RFC 2308). Other failures are not remembered.
func lifetime(m *dns.Msg) time.Duration {
	if m.Truncated || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return 0
	}
	if len(m.Answer) == 0 || m.Rcode == dns.RcodeNameError {
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				return min(time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second, mostNegativeTTL)
			}
		}
		return 0
	}
	shortest := uint32(mostTTL / time.Second)
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			shortest = min(shortest, rr.Header().Ttl)
		}
	}
	return time.Duration(shortest) * time.Second
}

func age(m *dns.Msg, seconds uint32) {
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			h := rr.Header()
			h.Ttl -= min(h.Ttl, seconds)
		}
	}
}
