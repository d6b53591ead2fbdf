package server

import (
	"context"
	"errors"
	"testing"

	"github.com/miekg/dns"

	"kubus.dev/services/dns/internal/forward"
	"kubus.dev/services/dns/internal/wire"
)

// FuzzRecurse gives what any server elsewhere could answer, and holds what the client gets to the client's question:
// readable, its number, its question, within the limit.
func FuzzRecurse(f *testing.F) {
	for _, name := range []string{"www.example.com", "cname.example.com", "big.example.com"} {
		m := query(name, "A", nil)
		answer, err := elsewhere(f.Context(), m, "")
		if err != nil {
			continue
		}
		packet, err := answer.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	f.Add([]byte{})
	f.Add(make([]byte, 12))
	f.Add([]byte{0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4})
	z := testZone(f)
	f.Fuzz(func(t *testing.T, packet []byte) {
		h := &Handler{Zone: z, Forward: forward.New(forward.Options{Servers: []string{"192.0.2.53"},
			Exchange: func(context.Context, *dns.Msg, string) (*dns.Msg, error) {
				m := new(dns.Msg)
				if m.Unpack(packet) != nil {
					return nil, errors.New("cannot be read")
				}
				return m, nil
			}})}
		m := query("www.example.com", "A", nil)
		m.Id, m.RecursionDesired = 4711, true
		asked, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		answer := h.Recurse(t.Context(), asked, 0)
		got := new(dns.Msg)
		if err := got.Unpack(answer); err != nil {
			t.Fatalf("%x made an answer that cannot be read: %v", packet, err)
		}
		if got.Id != 4711 || !got.Response || len(got.Question) != 1 || got.Question[0] != m.Question[0] || len(answer) > wire.EDNSSize {
			t.Errorf("%x made %v", packet, got)
		}
	})
}
