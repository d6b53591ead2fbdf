// Package lab builds networks out of namespaces for tests: a node with a bridge,
// pods on it, and a client outside. Nothing of it is seen from the host, and all
// of it goes with the test.
//
// Start with New. Do runs a function in a namespace; sockets it opens stay there.
package lab

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// The lab's addresses.
const (
	Gateway = "10.244.0.1" // of the bridge
	Node    = "192.0.2.1"
	Outside = "192.0.2.2" // the client outside, and the node's default route
)

// Lab is a node's network and what is around it.
type Lab struct {
	Node    *Namespace
	Outside *Namespace
	t       testing.TB
}

// Namespace is one network namespace.
type Namespace struct {
	handle netns.NsHandle
	t      testing.TB
}

// New builds one. Without root or iptables the test is skipped; under CI=true,
// which promises them, it fails.
func New(t testing.TB) *Lab {
	t.Helper()
	need(t, "iptables-restore")
	l := &Lab{Node: newNamespace(t), Outside: newNamespace(t), t: t}
	l.Node.Do(func() {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		l.must(netlink.LinkAdd(bridge))
		l.address(bridge, Gateway+"/16")
		l.wire(l.Outside, "out0", Outside+"/24", "")
		l.address(l.link("out0"), Node+"/24")
		l.route(Outside)
	})
	l.Outside.Do(func() { l.must(netlink.RouteAdd(route("10.0.0.0/8", Node))) })
	return l
}

func need(t testing.TB, program string) {
	t.Helper()
	missing := ""
	if os.Geteuid() != 0 {
		missing = "root"
	} else if _, err := exec.LookPath(program); err != nil {
		missing = program
	}
	if missing == "" {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI must have %s", missing)
	}
	t.Skipf("this test needs %s", missing)
}

// Pod puts a pod with an address of 10.244.0.0/16 on the bridge.
func (l *Lab) Pod(address string) *Namespace {
	l.t.Helper()
	pod := newNamespace(l.t)
	l.Node.Do(func() {
		host := "v" + strings.ReplaceAll(address, ".", "")
		l.wire(pod, host, address+"/16", Gateway)
		l.must(netlink.LinkSetMaster(l.link(host), l.link("br0")))
		l.must(netlink.LinkSetHairpin(l.link(host), true))
	})
	return pod
}

// wire connects the present namespace to another, whose end becomes eth0.
func (l *Lab) wire(to *Namespace, name, address, gateway string) {
	l.must(netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(to.handle),
	}))
	l.must(netlink.LinkSetUp(l.link(name)))
	to.Do(func() {
		l.address(l.link("eth0"), address)
		if gateway != "" {
			l.route(gateway)
		}
	})
}

func (l *Lab) link(name string) netlink.Link {
	link, err := netlink.LinkByName(name)
	l.must(err)
	return link
}

func (l *Lab) address(link netlink.Link, cidr string) {
	addr, err := netlink.ParseAddr(cidr)
	l.must(err)
	l.must(netlink.AddrAdd(link, addr))
	l.must(netlink.LinkSetUp(link))
}

func (l *Lab) route(gateway string) { l.must(netlink.RouteAdd(route("0.0.0.0/0", gateway))) }

func route(to, gateway string) *netlink.Route {
	_, dst, err := net.ParseCIDR(to)
	if err != nil {
		panic(err)
	}
	return &netlink.Route{Dst: dst, Gw: net.ParseIP(gateway)}
}

func (l *Lab) must(err error) {
	if err != nil {
		panic(fmt.Sprintf("lab: %v", err)) // Do reports it on the test's goroutine
	}
}

func newNamespace(t testing.TB) *Namespace {
	t.Helper()
	n := &Namespace{handle: netns.None(), t: t}
	onThread(t, func() {
		handle, err := netns.New()
		if err != nil {
			panic(err)
		}
		n.handle = handle
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			panic(err)
		}
	})
	t.Cleanup(func() { _ = n.handle.Close() })
	return n
}

// Do runs fn on a thread of its own inside the namespace and waits for it.
func (n *Namespace) Do(fn func()) {
	n.t.Helper()
	onThread(n.t, func() {
		if err := netns.Set(n.handle); err != nil {
			panic(err)
		}
		fn()
	})
}

// onThread runs fn on a thread that ends with it: the goroutine never unlocks.
func onThread(t testing.TB, fn func()) {
	t.Helper()
	failed := make(chan any, 1)
	go func() {
		runtime.LockOSThread()
		defer func() { failed <- recover() }()
		fn()
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

// Serve answers every TCP connection to a port, and every UDP packet, with the
// server's name and the client's address: "name 10.244.0.5:34567".
func (n *Namespace) Serve(name string, port int) {
	n.t.Helper()
	n.Do(func() {
		tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{Port: port})
		if err != nil {
			panic(err)
		}
		udp, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
		if err != nil {
			panic(err)
		}
		n.t.Cleanup(func() { _, _ = tcp.Close(), udp.Close() })
		go serveTCP(tcp, name)
		go serveUDP(udp, name)
	})
}

func serveTCP(l *net.TCPListener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr())
			_, _ = io.Copy(c, c) // an echo from then on
		}()
	}
}

func serveUDP(l *net.UDPConn, name string) {
	buf := make([]byte, 512)
	for {
		_, from, err := l.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		_, _ = l.WriteToUDPAddrPort(fmt.Appendf(nil, "%s %s", name, from), from)
	}
}

// Answer is who answered, and how the client looked there.
type Answer struct {
	Server string
	Client netip.AddrPort
}

// Ask opens a TCP connection from the namespace and gives the answer.
func (n *Namespace) Ask(address string) (Answer, error) {
	var answer Answer
	var err error
	n.Do(func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp4", address, 3*time.Second); err != nil {
			return
		}
		defer c.Close()
		answer, err = Read(c)
	})
	return answer, err
}

// Dial opens a connection that the caller keeps.
func (n *Namespace) Dial(network, address string) net.Conn {
	n.t.Helper()
	var c net.Conn
	n.Do(func() {
		var err error
		if c, err = net.DialTimeout(network, address, 3*time.Second); err != nil {
			panic(err)
		}
	})
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}

// Read reads one answer.
func Read(c net.Conn) (Answer, error) {
	_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
	buf := make([]byte, 512)
	k, err := c.Read(buf)
	if err != nil {
		return Answer{}, err
	}
	name, client, _ := strings.Cut(strings.TrimSpace(string(buf[:k])), " ")
	from, err := netip.ParseAddrPort(client)
	return Answer{name, from}, err
}
