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
	all, err := net.Listen("tcp", ":0") // also for IPv4, on a socket of IPv6 where there is any
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	listens := func(protocol string, at netip.AddrPort) bool { return open().has(protocol, at) }
	at := netip.MustParseAddrPort(tcp.Addr().String())
	if !listens("tcp", at) {
		t.Error("a listener was not found")
	}
	if port := netip.MustParseAddrPort(udp.LocalAddr().String()).Port(); !listens("udp", netip.AddrPortFrom(at.Addr(), port)) {
		t.Error("a socket of all addresses was not found")
	}
	if port := netip.MustParseAddrPort(all.Addr().String()).Port(); !listens("tcp", netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)) {
		t.Error("a listener at all addresses was not found")
	}
	client, err := net.Dial("udp4", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if listens("udp", netip.MustParseAddrPort(client.LocalAddr().String())) {
		t.Error("a client's socket was taken for a program that takes what comes")
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

func TestALineOfTheKernelsSockets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ line, want string }{
		"IPv4":          {"  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 1 1 0", "127.0.0.1:8080"},
		"all of IPv6":   {"  1: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0:0", "[::]:22"},
		"mapped":        {"  2: 0000000000000000FFFF00000200000A:0050 00000000000000000000000000000000:0000 0A 0:0", "10.0.0.2:80"},
		"a connection":  {"  3: 0100007F:1F90 0100007F:E000 01 0:0", ""},
		"the head":      {"  sl  local_address rem_address   st tx_queue", ""},
		"nothing":       {"", ""},
		"no address":    {"  4: 01:1F90 00000000:0000 0A 0:0", ""},
		"a broken port": {"  5: 0100007F:FFFFF 00000000:0000 0A 0:0", ""},
	} {
		at, ok := parseSocket(c.line, "0A")
		if ok != (c.want != "") || ok && at.String() != c.want {
			t.Errorf("%s: got %v %v, want %q", name, at, ok, c.want)
		}
	}
}
