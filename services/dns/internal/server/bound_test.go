package server

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"kubus.dev/services/dns/internal/forward"
)

const ownName = "ns.dns.cluster.local"

// Who opens connections without end gets no more than there may be; names of the cluster
// are answered over UDP meanwhile, and whoever comes when one has ended is served.
func TestTheConnectionsInHandAreBounded(t *testing.T) {
	t.Parallel()
	s := listen(t, &Handler{Zone: testZone(t), Forward: forward.New(forward.Options{})})
	tcp := dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	served := func() (*dns.Conn, error) {
		c, err := tcp.Dial(s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Conn.(*net.TCPConn).SetLinger(0) // so many ports are free again at once
		if _, _, err := tcp.ExchangeWithConn(query(ownName, "A", nil), c); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		t.Cleanup(func() { c.Close() })
		return c, nil
	}
	var last *dns.Conn
	for i := range mostConnections {
		c, err := served()
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		last = c
	}
	more, err := tcp.Dial(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	_ = more.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := more.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("one more than there may be: %v, want its end", err)
	}
	if answer, err := dns.Exchange(query(ownName, "A", nil), s.Addr().String()); err != nil || answer.Rcode != dns.RcodeSuccess {
		t.Errorf("over UDP meanwhile: %v, %v", answer, err)
	}
	last.Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err = served(); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("when one has ended: %v", err)
		}
	}
}

// Questions that wait for a server elsewhere take no more than their share: one more fails
// at once, and names of the cluster are answered.
func TestTheQuestionsThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	s := listen(t, &Handler{Zone: testZone(t), Forward: forward.New(forward.Options{Servers: []string{"192.0.2.53"}, Exchange: elsewhere})})
	for range mostSlow {
		s.slow <- struct{}{}
	}
	for _, c := range []struct {
		name string
		code int
	}{{"example.com", dns.RcodeServerFailure}, {ownName, dns.RcodeSuccess}} {
		if answer, err := dns.Exchange(query(c.name, "A", nil), s.Addr().String()); err != nil || answer.Rcode != c.code {
			t.Errorf("%s: %v, %v, want the code %s", c.name, answer, err, dns.RcodeToString[c.code])
		}
	}
	<-s.slow
	if answer, err := dns.Exchange(query("example.com", "A", nil), s.Addr().String()); err != nil || answer.Rcode != dns.RcodeSuccess {
		t.Errorf("with room again: %v, %v", answer, err)
	}
}
