package server

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"kubus.dev/services/dns/internal/forward"
)

func TestFinding15OnlyPodsAndNodesAreClients(t *testing.T) {
	t.Parallel()
	c := NewClients([]netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("10.244.0.0/16")})
	c.SetNodes("kube-system/kube-dns-a", []netip.Addr{netip.MustParseAddr("192.0.2.7")})
	c.SetNodes("kube-system/kube-dns-b", []netip.Addr{netip.MustParseAddr("192.0.2.8")})
	c.SetNodes("kube-system/kube-dns-b", nil)
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{
		"10.244.3.9": true, "10.96.0.10": true, "127.0.0.1": true, "::1": true, "::ffff:10.244.3.9": true, "192.0.2.7": true,
		"192.0.2.8": false, "8.8.8.8": false, "10.245.0.1": false, "169.254.1.1": false, "2001:db8::1": false,
	}
	for _, a := range own {
		tests[netip.MustParsePrefix(a.String()).Addr().String()] = true
	}
	for text, want := range tests {
		if got := c.Allow(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// strangers tells of each.
type strangers struct {
	nobody
	tcp chan bool
}

func (s strangers) Stranger(tcp bool) { s.tcp <- tcp }

func TestFinding15StrangersGetNoAnswer(t *testing.T) {
	t.Parallel()
	h := &Handler{Zone: testZone(t), Forward: forward.New(forward.Options{})}
	seen, open := strangers{tcp: make(chan bool)}, &atomic.Bool{}
	s := anywhere(t, h, gate{open}, seen)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	tcp, err := net.Dial("tcp4", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	if !<-seen.tcp {
		t.Error("a connection was counted as a packet")
	}
	if n, err := tcp.Read(make([]byte, 1)); err == nil {
		t.Errorf("over TCP a stranger got %d bytes", n)
	}
	udp, err := net.Dial("udp4", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	ask := func(id uint16) {
		t.Helper()
		m := query("dns-version.cluster.local", "TXT", nil)
		m.Id = id
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := udp.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	ask(1)
	if <-seen.tcp {
		t.Error("a packet was counted as a connection")
	}
	open.Store(true)
	ask(2)
	answer := make([]byte, 1500)
	if _, err := udp.Read(answer); err != nil || answer[1] != 2 {
		t.Errorf("the first answer is that of question %d, %v", answer[1], err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// gate lets everybody in once it is open.
type gate struct{ open *atomic.Bool }

func (g gate) Allow(netip.Addr) bool { return g.open.Load() }
