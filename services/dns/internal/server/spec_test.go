package server

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"kubus.dev/services/dns/internal/forward"
	"kubus.dev/services/dns/internal/wire"
	"kubus.dev/services/dns/internal/zone"
)

var update = flag.Bool("update", false, "write the answers that come out into testdata")

// A script holds objects ("N.apply"), names of objects that go ("N.delete") and
// "N.queries": each a line "? name TYPE" and the answer below it, in the form of
// zone files; "flags" are shown when they are not the usual ones.
func TestAnswersOfTheScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { runScript(t, path) })
	}
}

func testZone(t testing.TB) *zone.Zone {
	t.Helper()
	z, err := zone.New(zone.Options{
		Domain: "cluster.local", Server: netip.MustParseAddr("10.96.0.10"), TTL: 5, Serial: 1,
		Reverse: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("10.244.0.0/16")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// elsewhere plays the servers that are forwarded to.
func elsewhere(_ context.Context, m *dns.Msg, _ string) (*dns.Msg, error) {
	reply := new(dns.Msg)
	reply.SetReply(m)
	q := m.Question[0]
	add := func(text string) {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		reply.Answer = append(reply.Answer, rr)
	}
	switch name := strings.ToLower(q.Name); {
	case name == "example.com." && q.Qtype == dns.TypeA:
		add("example.com. 300 IN A 192.0.2.80")
	case name == "www.example.com." && q.Qtype == dns.TypeA:
		add("www.example.com. 300 IN CNAME example.com.")
		add("example.com. 300 IN A 192.0.2.80")
	case name == "big.example.com." && q.Qtype == dns.TypeA:
		for i := range 100 {
			add(fmt.Sprintf("big.example.com. 300 IN A 192.0.2.%d", i))
		}
	case name == "example.com.":
	case name == "broken.example.com.":
		reply.Rcode = dns.RcodeServerFailure
	default:
		reply.Rcode = dns.RcodeNameError
	}
	if len(reply.Answer) == 0 {
		rr, _ := dns.NewRR("example.com. 60 IN SOA ns.example.com. admin.example.com. 7 1 2 3 60")
		reply.Ns = append(reply.Ns, rr)
	}
	return reply, nil
}

func runScript(t *testing.T, path string) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	servers := []string{"192.0.2.53"}
	if strings.Contains(path, "alone") {
		servers = nil
	}
	h := &Handler{Zone: testZone(t), Forward: forward.New(forward.Options{Servers: servers, CacheSize: 10, Exchange: elsewhere})}
	for i := range archive.Files {
		file := &archive.Files[i]
		switch _, kind, _ := strings.Cut(file.Name, "."); kind {
		case "apply":
			apply(t, h.Zone, file.Data)
		case "delete":
			remove(t, h.Zone, string(file.Data))
		case "queries":
			got := ask(t, h, string(file.Data))
			if *update {
				file.Data = []byte(got)
			} else if got != string(file.Data) {
				t.Errorf("%s: got\n%s\nwant\n%s", file.Name, got, file.Data)
			}
		default:
			t.Fatalf("%s: unknown kind of section", file.Name)
		}
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func ask(t *testing.T, h *Handler, script string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "?" {
			continue
		}
		fmt.Fprint(&out, line)
		m := query(words[1], words[2], words[3:])
		fmt.Fprint(&out, answer(t, h, m))
		out.WriteByte('\n')
	}
	return out.String()
}

// query reads "name TYPE [tcp] [edns] [do] [norecurse] [CH]".
func query(name, kind string, options []string) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), dns.StringToType[kind])
	m.Id = 0
	m.RecursionDesired = !slices.Contains(options, "norecurse")
	if slices.Contains(options, "CH") {
		m.Question[0].Qclass = dns.ClassCHAOS
	}
	if slices.Contains(options, "edns") || slices.Contains(options, "do") {
		m.SetEdns0(4096, slices.Contains(options, "do"))
	}
	return m
}

func answer(t *testing.T, h *Handler, m *dns.Msg) string {
	t.Helper()
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Query
	raw, slow := h.Respond(nil, packet, &q, 0)
	if slow {
		raw = h.Recurse(t.Context(), packet, 0)
	}
	got := new(dns.Msg)
	if err := got.Unpack(raw); err != nil {
		t.Fatalf("%v: the answer cannot be read: %v", m.Question, err)
	}
	if len(raw) > q.Limit() {
		t.Errorf("%v: an answer of %d bytes for a client that takes %d", m.Question, len(raw), q.Limit())
	}
	if len(got.Question) != 1 || got.Question[0] != m.Question[0] || got.Id != m.Id || !got.Response {
		t.Errorf("%v: answered %v", m, got)
	}
	return render(got)
}

func render(m *dns.Msg) string {
	var out strings.Builder
	flags := ""
	for name, set := range map[string]bool{"aa": m.Authoritative, "tc": m.Truncated, "ra": m.RecursionAvailable, "rd": m.RecursionDesired} {
		if set {
			flags += " " + name
		}
	}
	words := strings.Fields(flags)
	slices.Sort(words)
	fmt.Fprintf(&out, "  %s %s\n", dns.RcodeToString[m.Rcode], strings.Join(words, " "))
	section := func(name string, rrs []dns.RR) {
		for i, rr := range rrs {
			if i == 3 && len(rrs) > 8 {
				fmt.Fprintf(&out, "  %s ... %d more\n", name, len(rrs)-i)
				break
			}
			text := strings.Join(strings.Fields(rr.String()), " ")
			if opt, ok := rr.(*dns.OPT); ok {
				text = fmt.Sprintf("OPT size %d do %t", opt.UDPSize(), opt.Do())
			}
			fmt.Fprintf(&out, "  %s %s\n", name, text)
		}
	}
	section("answer", m.Answer)
	section("authority", m.Ns)
	section("additional", m.Extra)
	return out.String()
}

func apply(t testing.TB, z *zone.Zone, data []byte) {
	t.Helper()
	for _, doc := range bytes.Split(data, []byte("\n---\n")) {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		var err error
		switch kind.Kind {
		case "Service":
			var obj corev1.Service
			err = yaml.UnmarshalStrict(doc, &obj)
			z.SetService(zone.Key{Namespace: obj.Namespace, Name: obj.Name}, zone.FromService(&obj))
		case "EndpointSlice":
			var obj discoveryv1.EndpointSlice
			err = yaml.UnmarshalStrict(doc, &obj)
			z.SetSlice(zone.Key{Namespace: obj.Namespace, Name: obj.Name}, zone.FromSlice(&obj))
		case "Namespace":
			var obj corev1.Namespace
			err = yaml.UnmarshalStrict(doc, &obj)
			z.SetNamespace(obj.Name, true)
		default:
			err = fmt.Errorf("kind %q is unknown", kind.Kind)
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
	}
}

func remove(t *testing.T, z *zone.Zone, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		kind, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		ns, name, _ := strings.Cut(name, "/")
		switch kind {
		case "Service":
			z.SetService(zone.Key{Namespace: ns, Name: name}, nil)
		case "EndpointSlice":
			z.SetSlice(zone.Key{Namespace: ns, Name: name}, nil)
		case "Namespace":
			z.SetNamespace(ns, false)
		default:
			t.Fatalf("%q: unknown kind", line)
		}
	}
}
