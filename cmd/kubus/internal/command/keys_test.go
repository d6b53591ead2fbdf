package command

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/pki"
	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/store"
)

func keyed(t *testing.T) *instance.Instance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	i := &instance.Instance{
		Dir: t.TempDir(), ID: "abcdef", Form: instance.Services, NodeName: "n", Nodes: 1, NodeIP: "192.0.2.1", Listen: "127.0.0.1:6443",
		ServiceCIDR: "10.96.0.0/16", PodCIDR: "10.244.0.0/16", Ports: map[string]int{"bus": l.Addr().(*net.TCPAddr).Port},
	}
	if err := keys(i); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestWhatTheWordsOfARotationMean(t *testing.T) {
	t.Parallel()
	own := keyed(t)
	theirs, foreign := *own, *own
	theirs.Store, theirs.StoreNkey = "nats://192.0.2.7:4222", roster.OwnKeys
	foreign.Store, foreign.StoreNkey = "nats://192.0.2.7:4222", "/keys"
	for name, c := range map[string]struct {
		i     *instance.Instance
		words string
		want  string // "" is an error
		log   bool
	}{
		"a role":                          {own, "scheduler", "scheduler", false},
		"a role of each node":             {own, "agent", "agent-n", false},
		"a node's":                        {own, "agent-n proxy-n", "agent-n, proxy-n", false},
		"a role twice":                    {own, "gateway gateway", "gateway", false},
		"the certificate":                 {own, "bus", "the certificate of the bus", false},
		"its authority":                   {own, "bus-ca", "the certificate of the bus, its authority", false},
		"the log's":                       {own, "log", "-", true},
		"what there is not":               {own, "gatewa", "", false},
		"a role of their NATS by our key": {&theirs, "scheduler", "scheduler", false},
		"their certificate":               {&theirs, "bus", "", false},
		"a key of theirs":                 {&foreign, "scheduler", "", false},
		"all of theirs":                   {&foreign, "", "", false},
		"the log in their NATS":           {&foreign, "log", "-", true},
	} {
		r, err := rotationOf(c.i, strings.Fields(c.words))
		if (err != nil) != (c.want == "") || err == nil && (r.String() != strings.Trim(c.want, "-") || r.log != c.log) {
			t.Errorf("%s: got %q, log %v, %v", name, r, r.log, err)
		}
	}
	all, err := rotationOf(own, nil)
	if err != nil || !slices.Equal(all.clients, slices.Sorted(slices.Values(roster.KeyNames(own)))) || !all.certificate || all.authority || all.log {
		t.Errorf("without words: %+v, %v", all, err)
	}
	if ours, err := rotationOf(&theirs, nil); err != nil || len(ours.clients) != len(all.clients) || ours.certificate {
		t.Errorf("without words, with their NATS: %+v, %v", ours, err)
	}
	if groups, err := rotationOf(own, []string{"controllers"}); err != nil || len(groups.clients) < 8 {
		t.Errorf("all groups of controllers: %+v, %v", groups, err)
	}
}

// A key that somebody stole opens the bus until it is rotated, and not after.
func TestAfterARotationTheOldKeysOpenNothing(t *testing.T) {
	i := keyed(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	stolen := t.TempDir()
	for _, file := range []string{"bus/gateway.nk", "bus/dns.nk", "bus/agent-n.nk", "bus-ca.crt"} {
		data, err := os.ReadFile(i.PKI(file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(stolen, filepath.Base(file)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	connect := func(key, ca string) error {
		conn, err := bus.Connect(ctx, bus.Options{URL: roster.BusURL(i), NkeySeedFile: key, CAFile: ca, NoWait: true})
		if err == nil {
			_ = conn.Drain()
		}
		return err
	}
	serve := func() *store.Server {
		t.Helper()
		o, err := roster.Store(i)
		if err != nil {
			t.Fatal(err)
		}
		o.Unsynced = true
		server, err := store.Start(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	old := func(name string) string { return filepath.Join(stolen, name) }
	now := func(name string) string { return i.PKI("bus/" + name) }
	ca := i.PKI("bus-ca.crt")

	server := serve()
	for _, key := range []string{"gateway.nk", "dns.nk", "agent-n.nk"} {
		if err := connect(old(key), ca); err != nil {
			t.Fatalf("%s before: %v", key, err)
		}
	}
	server.Shutdown()

	if err := newBusKeys(i, rotation{clients: []string{"agent-n", "gateway"}, certificate: true}); err != nil {
		t.Fatal(err)
	}
	server = serve()
	for _, key := range []string{"gateway.nk", "agent-n.nk"} {
		if err := connect(old(key), ca); err == nil || !strings.Contains(err.Error(), "Authorization") {
			t.Errorf("the old %s: %v", key, err)
		}
		if err := connect(now(key), old("bus-ca.crt")); err != nil {
			t.Errorf("the new %s with the authority that stayed: %v", key, err)
		}
	}
	if err := connect(old("dns.nk"), ca); err != nil {
		t.Errorf("a key that nobody rotated: %v", err)
	}
	server.Shutdown()

	if err := newBusKeys(i, rotation{certificate: true, authority: true}); err != nil {
		t.Fatal(err)
	}
	server = serve()
	defer server.Shutdown()
	var unknown x509.UnknownAuthorityError
	if err := connect(now("gateway.nk"), old("bus-ca.crt")); !errors.As(err, &unknown) {
		t.Errorf("by the old authority: %v", err)
	}
	if err := connect(now("gateway.nk"), ca); err != nil {
		t.Errorf("by the new authority: %v", err)
	}
}

// A rotation of the log's key that was interrupted loses none that is still needed.
func TestTheKeysOfTheLogAreKeptUntilTheyAreForgotten(t *testing.T) {
	t.Parallel()
	i := keyed(t)
	lines := func() []string {
		t.Helper()
		data, err := os.ReadFile(i.PKI("log.key"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := statelog.LoadKeys(i.PKI("log.key")); err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(data))
	}
	first := lines()
	for range 2 {
		if err := pki.AddLogKey(i.Path("pki")); err != nil {
			t.Fatal(err)
		}
	}
	all := lines()
	if len(first) != 1 || len(all) != 3 || all[2] != first[0] || all[0] == all[1] {
		t.Fatalf("got %d keys, then %d", len(first), len(all))
	}
	if err := pki.ForgetLogKeys(i.Path("pki")); err != nil {
		t.Fatal(err)
	}
	if got := lines(); !slices.Equal(got, all[:1]) {
		t.Errorf("%d keys are left, want the first", len(got))
	}
}
