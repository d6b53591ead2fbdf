package server

import (
	"bytes"
	"testing"

	"github.com/miekg/dns"

	"kubus.dev/services/dns/internal/forward"
	"kubus.dev/services/dns/internal/wire"
)

// FuzzRespond holds the packet path to what miekg/dns says of the same packets:
// no panic, no answer to an answer, the client's number in every answer, and
// every answer readable and within its limit.
func FuzzRespond(f *testing.F) {
	h := &Handler{Zone: testZone(f), Forward: forward.New(forward.Options{})}
	apply(f, h.Zone, []byte(`kind: Service
metadata: {namespace: default, name: web}
spec: {clusterIP: 10.96.3.7, ports: [{name: http, port: 80}]}`))
	for _, name := range []string{"web.default.svc.cluster.local", "_http._tcp.web.default.svc.cluster.local", "7.3.96.10.in-addr.arpa", "1-2-3-4.default.pod.cluster.local", "."} {
		for _, kind := range []string{"A", "SRV", "PTR", "ANY"} {
			packet, err := query(name, kind, []string{"edns"}).Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packet)
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		var q wire.Query
		answer, slow := h.Respond(nil, packet, &q, 0)
		if slow {
			t.Fatal("somebody else was to be asked, but there is nobody")
		}
		asked := new(dns.Msg)
		readable := asked.Unpack(packet) == nil
		if answer == nil {
			if readable && !asked.Response {
				t.Fatalf("no answer to %v", asked)
			}
			return
		}
		got := new(dns.Msg)
		if err := got.Unpack(answer); err != nil {
			t.Fatalf("%v: answered %x, which cannot be read: %v", asked, answer, err)
		}
		if len(packet) >= 2 && got.Id != uint16(packet[0])<<8|uint16(packet[1]) || !got.Response {
			t.Fatalf("%v: answered %v", asked, got)
		}
		if len(answer) > wire.EDNSSize {
			t.Fatalf("an answer of %d bytes over UDP", len(answer))
		}
		// miekg/dns also reads packets that are cut short: only what it writes the
		// same is surely well formed.
		again, err := asked.Pack()
		if readable && err == nil && bytes.Equal(again, packet) && len(asked.Question) == 1 &&
			asked.Opcode == dns.OpcodeQuery && len(asked.Extra) <= 1 && got.Rcode == dns.RcodeFormatError {
			t.Fatalf("%v is no format error", asked)
		}
	})
}

func TestPacketsThatAreNoQuestionsGetTheCodeOrTheSilenceTheyDeserve(t *testing.T) {
	t.Parallel()
	h := &Handler{Zone: testZone(t), Forward: forward.New(forward.Options{})}
	good, err := query("web.default.svc.cluster.local", "A", nil).Pack()
	if err != nil {
		t.Fatal(err)
	}
	changed := func(change func(p []byte) []byte) []byte { return change(append([]byte(nil), good...)) }
	for name, tc := range map[string]struct {
		packet []byte
		code   int // -1: no answer
	}{
		"nothing at all":                   {nil, -1},
		"less than a header":               {good[:11], -1},
		"an answer":                        {changed(func(p []byte) []byte { p[2] |= 0x80; return p }), -1},
		"a header alone":                   {good[:12], dns.RcodeFormatError},
		"a question cut short":             {good[:len(good)-1], dns.RcodeFormatError},
		"two questions":                    {changed(func(p []byte) []byte { p[5] = 2; return p }), dns.RcodeFormatError},
		"another kind of request":          {changed(func(p []byte) []byte { p[2] |= 5 << 3; return p }), dns.RcodeNotImplemented},
		"a pointer in the question":        {changed(func(p []byte) []byte { p[12] = 0xC0; return p }), dns.RcodeFormatError},
		"an additional record that is not": {changed(func(p []byte) []byte { p[11] = 1; return p }), dns.RcodeFormatError},
		"a later version of EDNS": {changed(func(p []byte) []byte {
			p[11] = 1
			return append(p, 0, 0, 41, 4, 0, 0, 1, 0, 0, 0, 0)
		}), dns.RcodeBadVers},
	} {
		var q wire.Query
		answer, _ := h.Respond(nil, tc.packet, &q, 0)
		if tc.code == -1 {
			if answer != nil {
				t.Errorf("%s: got %x, want silence", name, answer)
			}
			continue
		}
		got := new(dns.Msg)
		if err := got.Unpack(answer); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		code := got.Rcode
		if opt := got.IsEdns0(); opt != nil {
			code |= opt.ExtendedRcode() // the high bits, as miekg/dns keeps them
		}
		if code != tc.code {
			t.Errorf("%s: got %s, want %s", name, dns.RcodeToString[code], dns.RcodeToString[tc.code])
		}
	}
}

func BenchmarkRespond(b *testing.B) {
	h := &Handler{Zone: testZone(b), Forward: forward.New(forward.Options{})}
	apply(b, h.Zone, []byte(`kind: Service
metadata: {namespace: default, name: web}
spec: {clusterIP: 10.96.3.7, ports: [{name: http, port: 80}]}`))
	for name, kind := range map[string]string{
		"web.default.svc.cluster.local": "A", "web.default.svc.cluster.local.default.svc.cluster.local": "AAAA",
		"_http._tcp.web.default.svc.cluster.local": "SRV",
	} {
		packet, err := query(name, kind, []string{"edns"}).Pack()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(kind+" "+name, func(b *testing.B) {
			var q wire.Query
			out := make([]byte, 0, wire.EDNSSize)
			b.ReportAllocs()
			for b.Loop() {
				out, _ = h.Respond(out[:0], packet, &q, 0)
			}
		})
	}
}
