package dns_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/dns"
	"kubus.dev/services/kit"
	"kubus.dev/services/kit/kittest"
)

func TestTheExampleConfigurationShowsTheDefaults(t *testing.T) {
	t.Parallel()
	kittest.Example(t, dns.Default())
}

func TestAllProblemsOfAConfigurationAreToldAtOnce(t *testing.T) {
	t.Parallel()
	cfg := dns.Default()
	cfg.Address, cfg.Advertise, cfg.ClusterIP = "localhost", "127.0.0.1:53", "10.96.0.300"
	cfg.TTL, cfg.Forward, cfg.OwnReverse = kit.Duration(time.Millisecond), []string{"8.8.8.8", "dns.example"}, []string{"x"}
	err := cfg.Validate()
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"address:", "advertise:", "clusterIP:", "ttl:", "forward[1]:", "ownReverse[0]:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to name %s", err, want)
		}
	}
}

// gateway is as much of one as the service needs: it stores what is created.
type gateway struct {
	t    *testing.T
	conn *bus.Conn

	mu     sync.Mutex
	writes []string // "user METHOD path"
}

func (g *gateway) RoundTrip(user string, r *http.Request) (*http.Response, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var obj struct {
		Metadata struct{ Namespace, Name string }
	}
	if err := json.Unmarshal(body, &obj); err != nil {
		return nil, err
	}
	gr := services
	if strings.Contains(r.URL.Path, "endpointslices") {
		gr = endpointSlices
	}
	key := proto.Key{GroupResource: gr, Namespace: obj.Metadata.Namespace, Name: obj.Metadata.Name}
	write := user + " " + r.Method + " " + r.URL.Path
	if slices.Contains(g.writes, write) { // the service's view was a moment behind
		status := `{"kind":"Status","status":"Failure","reason":"AlreadyExists","code":409}`
		return &http.Response{StatusCode: http.StatusConflict, Body: io.NopCloser(strings.NewReader(status))}, nil
	}
	g.writes = append(g.writes, write)
	if _, err := g.conn.PublishStream(r.Context(), key.Subject(), body, nil); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusCreated, Body: io.NopCloser(bytes.NewReader(body))}, nil
}

func (g *gateway) Bulk(context.Context, string, *message.BulkRequest) (*message.BulkResponse, error) {
	return nil, bus.ErrUnavailable
}

func (g *gateway) AcquireFence(context.Context, string, *message.AcquireFence) (*message.FenceState, error) {
	return nil, bus.ErrUnavailable
}

func (g *gateway) count() int { g.mu.Lock(); defer g.mu.Unlock(); return len(g.writes) }

var (
	services       = proto.GroupResource{Resource: "services"}
	endpointSlices = proto.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
)

func TestRunAnswersWhatTheLogSaysAndAdvertisesItself(t *testing.T) {
	conn := bustest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g := &gateway{t: t, conn: conn}
	c := &cluster.Client{Bus: conn, Views: statelog.OpenViews(ctx, conn, zaptest.NewLogger(t)), API: apiclient.New(g, proto.DNSUser)}
	cfg := dns.Default()
	cfg.Address, cfg.Advertise, cfg.Node, cfg.Forward = freePort(t), "192.0.2.1:10053", "here", nil
	p := &kit.Process{Logger: zaptest.NewLogger(t), Health: kit.NewHealth()}
	done := make(chan error, 1)
	go func() { done <- dns.Run(ctx, cfg, p, c) }()

	until(t, "the server advertises itself", func() bool { return ask(cfg.Address, "udp", "kube-dns.kube-system.svc.cluster.local.") == "10.96.0.10" })
	until(t, "it is done writing", func() bool { return g.count() == 2 })
	user := "system:serviceaccount:kube-system:coredns POST "
	if want := []string{user + "/api/v1/namespaces/kube-system/services", user + "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"}; !slices.Equal(g.writes, want) {
		t.Errorf("wrote %v, want %v", g.writes, want)
	}

	var took []time.Duration
	for i := range 100 {
		want := fmt.Sprintf("10.96.5.%d", i)
		key := proto.Key{GroupResource: services, Namespace: "default", Name: "web"}
		object := fmt.Sprintf(`{"metadata":{"name":"web","namespace":"default"},"spec":{"clusterIP":%q}}`, want)
		if _, err := conn.PublishStream(ctx, key.Subject(), []byte(object), nil); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		until(t, "the record of "+want, func() bool { return ask(cfg.Address, "udp", "web.default.svc.cluster.local.") == want })
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("acknowledged change to answer: p50 %v, worst %v", took[len(took)/2], took[len(took)-1])
	if got := ask(cfg.Address, "tcp", "web.default.svc.cluster.local."); got != "10.96.5.99" {
		t.Errorf("over TCP: got %q", got)
	}
	if n := g.count(); n != 2 {
		t.Errorf("wrote %d times, want nothing more than 2: %v", n, g.writes)
	}
	if failures := p.Health.Check(); len(failures) > 0 {
		t.Errorf("not healthy: %v", failures)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnAddressInUseIsAnErrorThatNamesIt(t *testing.T) {
	conn := bustest.Start(t)
	cfg := dns.Default()
	cfg.Address, cfg.Forward = freePort(t), nil
	c := &cluster.Client{Bus: conn, Views: statelog.OpenViews(t.Context(), conn, zaptest.NewLogger(t)), API: apiclient.New(&gateway{t: t, conn: conn}, "")}
	p := &kit.Process{Logger: zaptest.NewLogger(t), Health: kit.NewHealth()}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- dns.Run(ctx, cfg, p, c) }()
	until(t, "the first answers", func() bool { return ask(cfg.Address, "udp", "ns.dns.cluster.local.") == "10.96.0.10" })
	if err := dns.Run(t.Context(), cfg, p, c); err == nil || !strings.Contains(err.Error(), cfg.Address) {
		t.Errorf("got %v, want an error that names %s", err, cfg.Address)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	s, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return netip.MustParseAddrPort(s.Addr().String()).String()
}

func ask(server, network, name string) string {
	m := new(mdns.Msg)
	m.SetQuestion(name, mdns.TypeA)
	client := mdns.Client{Net: network, Timeout: 200 * time.Millisecond}
	got, _, err := client.Exchange(m, server)
	if err != nil || len(got.Answer) == 0 {
		return ""
	}
	if a, ok := got.Answer[0].(*mdns.A); ok {
		return a.A.String()
	}
	return ""
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 5 s", what)
		}
	}
}
