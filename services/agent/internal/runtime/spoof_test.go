package runtime

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/netns"
)

// linkAddr is the link address that belongs to a pod's or the gateway's address.
func linkAddr(ip netip.Addr) net.HardwareAddr {
	a := ip.As4()
	return net.HardwareAddr{0x0a, 0x58, a[0], a[1], a[2], a[3]}
}

func podIP(s *Sandbox) netip.Addr { return netip.MustParseAddr(s.IPs[0]) }

func gatewayOf(s *Sandbox) netip.Addr {
	a := podIP(s).As4()
	return netip.AddrFrom4([4]byte{a[0], a[1], a[2], 1})
}

// datagram is a frame with a UDP packet that nobody checked.
func datagram(to, from net.HardwareAddr, src, dst netip.AddrPort, text string) []byte {
	frame := append(append([]byte{}, to...), from...)
	frame = append(frame, 8, 0)
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(text)))
	copy(ip[12:], src.Addr().AsSlice())
	copy(ip[16:], dst.Addr().AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	udp := make([]byte, 8) // no checksum
	binary.BigEndian.PutUint16(udp[0:], src.Port())
	binary.BigEndian.PutUint16(udp[2:], dst.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(text)))
	return append(append(append(frame, ip...), udp...), text...)
}

// announce is an ARP answer that nobody asked for.
func announce(mac net.HardwareAddr, ip netip.Addr) []byte {
	frame := append(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	frame = append(frame, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2)
	frame = append(append(frame, mac...), ip.AsSlice()...)
	return append(append(frame, mac...), ip.AsSlice()...)
}

// inject sends frames out of a pod's link, as a container with CAP_NET_RAW can.
func inject(t *testing.T, s *Sandbox, frames ...[]byte) {
	t.Helper()
	err := netns.In(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		eth0, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: eth0.Attrs().Index, Halen: 6}); err != nil {
				return err
			}
		}
		return nil
	}, s.NetNSPath)
	if err != nil {
		t.Fatal(err)
	}
}

// listenIn takes a UDP port in a network namespace; "" is the node's.
func listenIn(t *testing.T, ns, address string) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	listen := func() error {
		at, err := net.ResolveUDPAddr("udp4", address)
		if err == nil {
			conn, err = net.ListenUDP("udp4", at)
		}
		return err
	}
	err := error(nil)
	if ns == "" {
		err = listen()
	} else {
		err = netns.In(listen, ns)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func portOf(c *net.UDPConn) uint16 { return c.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// hears reads the next packet.
func hears(t *testing.T, c *net.UDPConn) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatalf("nothing arrives: %v", err)
	}
	return string(buf[:n])
}

func TestFinding15PodsCannotPoseAsOthers(t *testing.T) {
	n := newTestNode(t)
	evil, victim, server := n.pod(nil), n.pod(nil), n.pod(nil)
	c := listenIn(t, server.NetNSPath, ":0")
	to := netip.AddrPortFrom(podIP(server), portOf(c))
	gateway, own := linkAddr(gatewayOf(evil)), linkAddr(podIP(evil))
	frame := func(mac net.HardwareAddr, src netip.Addr, text string) []byte {
		return datagram(gateway, mac, netip.AddrPortFrom(src, 9), to, text)
	}
	inject(t, evil,
		frame(own, podIP(victim), "a neighbour's address"),
		frame(linkAddr(podIP(victim)), podIP(victim), "a neighbour's address and link address"),
		frame(own, gatewayOf(evil), "the gateway's address"),
		frame(own, netip.MustParseAddr("8.8.8.8"), "an address of the world"),
		datagram(linkAddr(podIP(server)), own, netip.AddrPortFrom(podIP(victim), 9), to, "a neighbour's address, past the node"),
		frame(own, podIP(evil), "its own"))
	if got := hears(t, c); got != "its own" {
		t.Errorf("a pod was taken for another by %s", got)
	}
}

// Two walls hold that, so the test of what arrives passes with either: each is looked at apart.
func TestFinding15BothWallsAgainstFalseSourcesStand(t *testing.T) {
	n := newTestNode(t)
	s := n.pod(nil)
	routes, err := netlink.RouteGet(podIP(s).AsSlice())
	if err != nil || len(routes) != 1 {
		t.Fatalf("the way to the pod: %v, %v", routes, err)
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		t.Fatal(err)
	}
	if value, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + link.Attrs().Name + "/rp_filter"); err != nil || strings.TrimSpace(string(value)) != "1" {
		t.Errorf("rp_filter of the pod's link is %q, %v", value, err)
	}
	const chain = "KUBUS-TEST-RPFILTER"
	if out, err := exec.Command("iptables", "-w", "-t", "raw", "-N", chain).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	known := exec.Command("iptables", "-w", "-t", "raw", "-A", chain, "-m", "rpfilter", "--invert", "-j", "DROP").Run() == nil
	for _, verb := range []string{"-F", "-X"} {
		if out, err := exec.Command("iptables", "-w", "-t", "raw", verb, chain).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	rules, err := exec.Command("iptables-save", "-t", "raw").Output()
	if err != nil || known && !strings.Contains(string(rules), "-m rpfilter --invert -j DROP") {
		t.Errorf("the kernel knows rpfilter, and no rule uses it: %v\n%s", err, rules)
	}
}

func TestFinding15PodsCannotTakeANeighboursPackets(t *testing.T) {
	n := newTestNode(t)
	evil, victim := n.pod(nil), n.pod(nil)
	c := listenIn(t, victim.NetNSPath, ":0")
	mac := linkAddr(podIP(victim))
	say := func(text string) {
		t.Helper()
		from, err := net.Dial("udp4", netip.AddrPortFrom(podIP(victim), portOf(c)).String())
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		if _, err := from.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	say("before")
	hears(t, c)
	inject(t, evil, announce(mac, podIP(victim)), announce(linkAddr(podIP(evil)), podIP(victim)),
		datagram(linkAddr(gatewayOf(evil)), mac, netip.AddrPortFrom(podIP(victim), 9), netip.AddrPortFrom(gatewayOf(evil), 9), "x"))
	say("after")
	if got := hears(t, c); got != "after" {
		t.Errorf("got %q", got)
	}
}

func TestFinding15PodsCannotReachTheNodesLoopback(t *testing.T) {
	n := newTestNode(t)
	evil := n.pod(func(s *SandboxSpec) { // which opens the way for packets from loopback
		s.PortMappings = []PortMapping{{HostPort: freePort(t), ContainerPort: 80, Protocol: "TCP"}}
	})
	c := listenIn(t, "", "127.0.0.1:0")
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), portOf(c))
	for _, from := range []netip.Addr{podIP(evil), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")} {
		inject(t, evil, datagram(linkAddr(gatewayOf(evil)), linkAddr(podIP(evil)), netip.AddrPortFrom(from, 9), to, "from "+from.String()))
	}
	own, err := net.Dial("udp4", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if _, err := own.Write([]byte("the node's own")); err != nil {
		t.Fatal(err)
	}
	if got := hears(t, c); got != "the node's own" {
		t.Errorf("the node's loopback heard a packet %s", got)
	}
}
