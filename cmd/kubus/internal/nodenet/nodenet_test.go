package nodenet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kubus.dev/cmd/kubus/internal/instance"
)

func TestNodesMeetWithTheirOwnAddressesAndLeaveWithTheMachines(t *testing.T) {
	t.Parallel()
	n := names{"abcdef"}
	want := map[string][]string{
		"nat/KN-abcdef-MASQ": {
			"-A KN-abcdef-MASQ ! -s 10.232.0.0/24 -j RETURN",
			"-A KN-abcdef-MASQ -d 10.232.0.0/24 -j RETURN",
			"-A KN-abcdef-MASQ -d 10.244.0.0/16 -j RETURN",
			"-A KN-abcdef-MASQ -d 224.0.0.0/4 -j RETURN",
			"-A KN-abcdef-MASQ -j MASQUERADE --random-fully",
		},
		"filter/KN-abcdef-FWD": {"-A KN-abcdef-FWD -i kn-abcdef -j ACCEPT", "-A KN-abcdef-FWD -o kn-abcdef -j ACCEPT"},
		"filter/KN-abcdef-IN": {
			"-A KN-abcdef-IN ! -d 10.232.0.0/24 -j RETURN",
			"-A KN-abcdef-IN -i lo -j RETURN",
			"-A KN-abcdef-IN ! -i kn-abcdef -j DROP",
		},
	}
	got := n.rules(netip.MustParsePrefix("10.232.0.0/24"), "10.244.0.0/16")
	for chain, rules := range want {
		if !slices.Equal(got[chain], rules) {
			t.Errorf("%s:\n%s\nwant\n%s", chain, strings.Join(got[chain], "\n"), strings.Join(rules, "\n"))
		}
	}
	if len(got) != len(want) {
		t.Errorf("there are %d chains, want %d", len(got), len(want))
	}
}

func TestALinkBelongsToItsInstanceAlone(t *testing.T) {
	t.Parallel()
	n := names{"abcdef"}
	for link, want := range map[string]bool{
		"kn-abcdef": true, "knabcdef-2": true, "knabcdef-250": true,
		"kn-abcde0": false, "knabcde0-2": false, "kb-abcdef01": false, "eth0": false,
	} {
		if got := n.owns(link); got != want {
			t.Errorf("%s: %v, want %v", link, got, want)
		}
	}
	if longest := n.link(instance.MaxNodes); len(longest) > 15 {
		t.Errorf("%s is longer than a link's name may be", longest)
	}
}

// inTest is set in the copy of this program that runs in a network namespace of its own.
const inTest = "KUBUS_NODENET_TEST"

func TestPlacesAreMadeOnceAndGoWithoutATrace(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("network namespaces need root")
	}
	if os.Getenv(inTest) == "" {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		again.Env = append(os.Environ(), inTest+"=1")
		again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
		if out, err := again.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	i := &instance.Instance{Dir: t.TempDir(), ID: "abcdef", NodeName: "n", Nodes: 1, NodeCIDR: "10.232.0.0/24", PodCIDR: "10.244.0.0/16"}
	if err := Ensure(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	if _, err := net.InterfaceByName(namesOf(i.ID).bridge()); err == nil {
		t.Error("an instance of one node has a bridge")
	}
	for range 2 {
		if _, err := i.AddNode(""); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time finds everything in place
		if err := Ensure(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	nodes := i.FurtherNodes()
	reach(t, nodes[0], nodes[1].IP)
	reach(t, nodes[1], nodes[0].IP)
	_, machine := i.NodeNetwork()
	reach(t, nodes[0], machine.String())
	reach(t, instance.Node{Name: "the machine"}, nodes[1].IP)

	i.ForgetNode(nodes[1].Name)
	if err := Remove(i, nodes[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := net.InterfaceByName(namesOf(i.ID).link(3)); err == nil {
		t.Error("the removed node's link is there")
	}
	for range 2 {
		if err := Purge(context.Background(), i); err != nil {
			t.Fatal(err)
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if namesOf(i.ID).owns(l.Name) {
			t.Errorf("link %s is left", l.Name)
		}
	}
	rules, err := exec.Command("iptables-save").Output()
	if err != nil || strings.Contains(string(rules), "KN-") {
		t.Errorf("rules are left: %v\n%s", err, rules)
	}
	left, _ := os.ReadDir(instance.HostRun)
	if len(left) > 0 {
		t.Errorf("left in %s: %v", instance.HostRun, left)
	}
}

// reach fails unless an address answers a node, be it that nobody listens there.
func reach(t *testing.T, from instance.Node, ip string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := Dialer(from)(ctx, "tcp", net.JoinHostPort(ip, "9"))
	if err == nil {
		conn.Close()
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%s to %s: %v", from.Name, ip, err)
	}
}
