package runtime

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// freePort is a TCP port that nobody has at the moment.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestFinding14AHostPortTakesNothingOfOthers(t *testing.T) {
	n := newTestNode(t)
	daemon, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	resolver := listenIn(t, "", "127.0.0.53:0")
	taken, asked := uint16(daemon.Addr().(*net.TCPAddr).Port), portOf(resolver)
	before := n.traces()
	for what, c := range map[string]struct {
		port PortMapping
		want string
	}{
		"a daemon's port":             {PortMapping{HostPort: taken, ContainerPort: 80, Protocol: "TCP"}, "cannot open hostPort"},
		"a daemon's port and address": {PortMapping{HostIP: "127.0.0.1", HostPort: taken, ContainerPort: 80, Protocol: "TCP"}, "address already in use"},
		"a resolver's port":           {PortMapping{HostPort: asked, ContainerPort: 53, Protocol: "UDP"}, "address already in use"},
		"an IPv6 address":             {PortMapping{HostIP: "::1", HostPort: freePort(t), ContainerPort: 80, Protocol: "TCP"}, "is no IPv4 address"},
	} {
		_, err := n.RunSandbox(t.Context(), SandboxSpec{PodUID: newID()[:12], Hostname: "p", PortMappings: []PortMapping{c.port}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after := n.traces(); after != before {
		t.Errorf("before: %s\nafter:  %s", before, after)
	}
	rules, _ := exec.Command("iptables-save").Output()
	for _, port := range []uint16{taken, asked} {
		if strings.Contains(string(rules), fmt.Sprintf("--dport %d ", port)) {
			t.Errorf("port %d leads to a pod", port)
		}
	}
}

func TestFinding14APodsHostPortIsHeldThroughARestart(t *testing.T) {
	n := newTestNode(t)
	port := freePort(t)
	at := fmt.Sprintf(":%d", port)
	s := n.pod(func(s *SandboxSpec) {
		s.PortMappings = []PortMapping{{HostPort: port, ContainerPort: 80, Protocol: "TCP"}, {HostPort: port, ContainerPort: 80, Protocol: "UDP"}}
	})
	held := func(when string) {
		t.Helper()
		if l, err := net.Listen("tcp4", at); err == nil {
			l.Close()
			t.Errorf("%s the port could be taken", when)
		}
	}
	held("while the pod runs")
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n.open()
	held("after a restart")
	if err := n.RemoveSandbox(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", at)
	if err != nil {
		t.Fatalf("after the pod: %v", err)
	}
	l.Close()
}
