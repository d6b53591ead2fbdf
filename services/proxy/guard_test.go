package proxy

import (
	"net"
	"net/netip"
	"testing"
)

func TestThePortsOfProgramsAreFoundOut(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	at := netip.MustParseAddrPort(tcp.Addr().String())
	if !listens("tcp", at) {
		t.Error("a listener was not found")
	}
	if port := netip.MustParseAddrPort(udp.LocalAddr().String()).Port(); !listens("udp", netip.AddrPortFrom(at.Addr(), port)) {
		t.Error("a socket of all addresses was not found")
	}
	tcp.Close()
	if listens("tcp", at) {
		t.Error("nobody listens any more")
	}
	cfg := Default()
	g := guard(&cfg)
	if g.Own(netip.MustParseAddr("192.0.2.99")) || !g.Own(netip.MustParseAddr("127.0.0.1")) || len(g.Ranges) != 2 {
		t.Errorf("the guard: %+v", g)
	}
}
