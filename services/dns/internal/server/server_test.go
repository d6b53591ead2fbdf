package server

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"kubus.dev/services/dns/internal/forward"
)

type nobody struct{}

func (nobody) Answered(bool, int) {}
func (nobody) Dropped(bool)       {}
func (nobody) Stranger(bool)      {}

func listen(t testing.TB, h *Handler) *Server {
	t.Helper()
	s := anywhere(t, h, NewClients(nil), nobody{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return s
}

// anywhere listens on a free port: the one that UDP gets may be a TCP client's.
func anywhere(t testing.TB, h *Handler, g Gate, c Counts) *Server {
	t.Helper()
	for {
		s, err := Listen(t.Context(), "127.0.0.1:0", h, g, c, zap.NewNop())
		switch {
		case err == nil:
			return s
		case !errors.Is(err, unix.EADDRINUSE):
			t.Fatal(err)
		}
	}
}

func TestAClientThatIsToldOfTruncationGetsAllOverTCP(t *testing.T) {
	t.Parallel()
	h := &Handler{Zone: testZone(t), Forward: forward.New(forward.Options{Servers: []string{"192.0.2.53"}, Exchange: elsewhere})}
	s := listen(t, h)
	m := query("big.example.com", "A", nil)
	udp, tcp := dns.Client{Timeout: 2 * time.Second}, dns.Client{Net: "tcp", Timeout: 2 * time.Second}
	short, _, err := udp.Exchange(m, s.Addr().String())
	if err != nil || !short.Truncated {
		t.Fatalf("over UDP: %v, %v, want a truncated answer", short, err)
	}
	full, _, err := tcp.Exchange(m, s.Addr().String())
	if err != nil || full.Truncated || len(full.Answer) != 100 {
		t.Fatalf("over TCP: %v, %v, want all 100 records", full, err)
	}
}

func TestASlowServerElsewhereDoesNotHoldUpTheClustersNames(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	h := &Handler{Zone: testZone(t), Forward: forward.New(forward.Options{Servers: []string{"192.0.2.53"},
		Exchange: func(ctx context.Context, m *dns.Msg, server string) (*dns.Msg, error) {
			<-release
			return elsewhere(ctx, m, server)
		}})}
	s := listen(t, h)
	c, err := net.Dial("udp4", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(name string, id uint16) {
		m := query(name, "A", nil)
		m.Id = id
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	next := func() uint16 {
		buf := make([]byte, 1500)
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := c.Read(buf)
		if err != nil || n < 2 {
			t.Fatalf("reading an answer: %v", err)
		}
		return uint16(buf[0])<<8 | uint16(buf[1])
	}
	ask("example.com", 1)
	ask("ns.dns.cluster.local", 2)
	if id := next(); id != 2 {
		t.Errorf("the first answer is to question %d, want 2", id)
	}
	close(release)
	if id := next(); id != 1 {
		t.Errorf("the second answer is to question %d, want 1", id)
	}
}

// BenchmarkUDP is questions a second with clients and server on the same cores.
func BenchmarkUDP(b *testing.B) {
	h := &Handler{Zone: testZone(b), Forward: forward.New(forward.Options{})}
	s := listen(b, h)
	packet, err := query("ns.dns.cluster.local", "A", nil).Pack()
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("udp4", s.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		buf := make([]byte, 1500)
		for pb.Next() {
			if _, err := c.Write(packet); err != nil {
				b.Error(err)
				return
			}
			if _, err := c.Read(buf); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
