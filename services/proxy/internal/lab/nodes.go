package lab

import (
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Nodes is a network of several nodes, 192.0.2.1 and on, each with a range of pods,
// 10.244.1.0/24 and on, that is routed; and of a stranger at 192.0.2.254.
type Nodes struct {
	Node     []*Namespace
	Stranger *Namespace
	lab      *Lab // for its helpers
}

// hop is the next hop of every pod, at the node's end of its link.
const hop = "169.254.1.1"

// NewNodes builds one. Without root or nft the test is skipped, and fails under CI=true.
func NewNodes(t testing.TB, count int) *Nodes {
	t.Helper()
	need(t, "nft")
	n := &Nodes{Stranger: newNamespace(t), lab: &Lab{t: t}}
	l := n.lab
	n.Stranger.Do(func() {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		l.must(netlink.LinkAdd(bridge))
		l.address(bridge, "192.0.2.254/24")
	})
	for i := range count {
		node := newNamespace(t)
		n.Node = append(n.Node, node)
		n.Stranger.Do(func() {
			port := fmt.Sprintf("port%d", i)
			l.wire(node, port, fmt.Sprintf("192.0.2.%d/24", i+1), "192.0.2.254")
			l.must(netlink.LinkSetMaster(l.link(port), l.link("br0")))
			l.must(netlink.RouteAdd(route(fmt.Sprintf("10.244.%d.0/24", i+1), fmt.Sprintf("192.0.2.%d", i+1))))
		})
		node.Do(func() {
			l.must(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
			for other := range count {
				if other != i {
					l.must(netlink.RouteAdd(route(fmt.Sprintf("10.244.%d.0/24", other+1), fmt.Sprintf("192.0.2.%d", other+1))))
				}
			}
		})
	}
	return n
}

// Pod puts a pod on a node, with a link of its own to it.
func (n *Nodes) Pod(node int, address string) *Namespace {
	n.lab.t.Helper()
	l, pod := n.lab, newNamespace(n.lab.t)
	n.Node[node].Do(func() {
		a := net.ParseIP(address).To4()
		host := fmt.Sprintf("v%02x%02x%02x%02x", a[0], a[1], a[2], a[3])
		l.wire(pod, host, address+"/32", "")
		l.address(l.link(host), hop+"/32")
		l.must(netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: a, Mask: net.CIDRMask(32, 32)}, LinkIndex: l.link(host).Attrs().Index,
			Scope: netlink.SCOPE_LINK, Src: net.ParseIP(fmt.Sprintf("192.0.2.%d", node+1)).To4()})) // what the node answers with
	})
	pod.Do(func() {
		eth0 := l.link("eth0").Attrs().Index
		l.must(netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.ParseIP(hop).To4(), Mask: net.CIDRMask(32, 32)}, LinkIndex: eth0, Scope: netlink.SCOPE_LINK}))
		_, all, _ := net.ParseCIDR("0.0.0.0/0")
		l.must(netlink.RouteAdd(&netlink.Route{Dst: all, Gw: net.ParseIP(hop), LinkIndex: eth0}))
	})
	return pod
}

// Unplug takes a pod's link away.
func (n *Namespace) Unplug() {
	n.Do(func() {
		if link, err := netlink.LinkByName("eth0"); err == nil {
			_ = netlink.LinkDel(link)
		}
	})
}

// Try is a connection to be tried, and what is expected of it.
type Try struct {
	Network string // "tcp" or "udp"
	Address string // of the other end
	Port    int
	Answers bool // expected
}

// The times that Probe waits: for what must answer, and, when all of that has, for what must not.
const (
	patience = 10000 // ms
	silence  = 150
)

// Probe tries all connections at once, from one namespace, and gives those that went another
// way than expected, each with what happened.
func (n *Namespace) Probe(tries []Try) (wrong []string) {
	n.Do(func() { wrong = probe(tries) })
	return wrong
}

func probe(tries []Try) (wrong []string) {
	fds := make([]unix.PollFd, len(tries))
	waiting := 0
	for i, try := range tries {
		kind, events := unix.SOCK_STREAM, int16(unix.POLLOUT)
		if try.Network == "udp" {
			kind, events = unix.SOCK_DGRAM, unix.POLLIN
		}
		fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		defer unix.Close(fd)
		to := &unix.SockaddrInet4{Port: try.Port}
		copy(to.Addr[:], net.ParseIP(try.Address).To4())
		if err := unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS {
			panic(fmt.Sprintf("%+v: %v", try, err))
		}
		if try.Network == "udp" {
			_, _ = unix.Write(fd, []byte("?")) // a refusal is seen below
		}
		fds[i] = unix.PollFd{Fd: int32(fd), Events: events}
		if try.Answers {
			waiting++
		}
	}
	for {
		limit := patience
		if waiting == 0 {
			limit = silence
		}
		ready, err := unix.Poll(fds, limit)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			panic(err)
		}
		if ready == 0 {
			break
		}
		for i := range fds {
			if fds[i].Revents == 0 {
				continue
			}
			code, _ := unix.GetsockoptInt(int(fds[i].Fd), unix.SOL_SOCKET, unix.SO_ERROR)
			fds[i].Fd = -1 - fds[i].Fd // not looked at any more
			if tries[i].Answers {
				waiting--
			}
			if answered := code == 0; answered != tries[i].Answers {
				wrong = append(wrong, fmt.Sprintf("%s %s:%d answered: %v (%v)", tries[i].Network, tries[i].Address, tries[i].Port, answered, unix.Errno(code)))
			}
			fds[i].Revents = 0
		}
	}
	for i := range fds {
		if fds[i].Fd >= 0 && tries[i].Answers {
			wrong = append(wrong, fmt.Sprintf("%s %s:%d gave no answer", tries[i].Network, tries[i].Address, tries[i].Port))
		}
	}
	return wrong
}
