package network

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"kubus.dev/services/kit/kittest"
)

func TestAddressesAreUniqueRestBeforeReuseAndSurviveARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := openLeases(dir)
	if err != nil {
		t.Fatal(err)
	}
	prefix := netip.MustParsePrefix("10.1.2.0/29") // .1 is the gateway, .7 the broadcast: five are left
	take := func(owner string) string {
		t.Helper()
		ip, err := l.take(owner, prefix)
		if err != nil {
			t.Fatal(err)
		}
		return ip.String()
	}
	if a, again := take("a"), take("a"); a != "10.1.2.2" || again != a {
		t.Errorf("first %s, asked again %s", a, again)
	}
	if b := take("b"); b != "10.1.2.3" {
		t.Errorf("second %s", b)
	}
	if err := l.release("a"); err != nil {
		t.Fatal(err)
	}
	if c := take("c"); c != "10.1.2.4" {
		t.Errorf("a freed address came back at once: %s", c)
	}
	take("d")
	take("e")
	if f := take("f"); f != "10.1.2.2" {
		t.Errorf("the freed address should come last: %s", f)
	}
	if _, err := l.take("g", prefix); !errors.Is(err, ErrNoAddress) {
		t.Errorf("a full prefix: %v", err)
	}
	if l, err = openLeases(dir); err != nil {
		t.Fatal(err)
	}
	if b := take("b"); b != "10.1.2.3" {
		t.Errorf("after a restart b has %s", b)
	}
	if err := errors.Join(l.release("b"), l.release("b")); err != nil {
		t.Error(err)
	}
}

func TestRulesOfAPodCIDR(t *testing.T) {
	t.Parallel()
	n := Names{Bridge: "kb-x", Hash: "12345"}
	got := strings.Join(append(n.masquerade(netip.MustParsePrefix("10.1.2.0/24"), "10.1.0.0/16"), n.forward()...), "\n")
	want := `-A KUBUS-MASQ-12345 ! -s 10.1.2.0/24 -j RETURN
-A KUBUS-MASQ-12345 -d 10.1.0.0/16 -j RETURN
-A KUBUS-MASQ-12345 -d 224.0.0.0/4 -j RETURN
-A KUBUS-MASQ-12345 -j MASQUERADE --random-fully
-A KUBUS-FWD-12345 -i kv12345+ -j ACCEPT
-A KUBUS-FWD-12345 -o kv12345+ -j ACCEPT
-A KUBUS-FWD-12345 -i kb-x -j ACCEPT
-A KUBUS-FWD-12345 -o kb-x -j ACCEPT`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFinding15RulesForWhatPodsSend(t *testing.T) {
	t.Parallel()
	n := Names{Bridge: "kb-x", Hash: "12345678"}
	want := []string{"-A KUBUS-SRC-12345678 -d 127.0.0.0/8 -j DROP", "-A KUBUS-SRC-12345678 -m rpfilter --invert -j DROP"}
	if got := n.source(true); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := n.source(false); !slices.Equal(got, want[:1]) {
		t.Errorf("without the match: got %q, want %q", got, want[:1])
	}
	if !slices.ContainsFunc(n.jumps(), func(j jump) bool {
		return j.rule() == "-A PREROUTING -i kv12345+ -j KUBUS-SRC-12345678" && j.table == "raw"
	}) {
		t.Errorf("nothing leads there: %v", n.jumps())
	}
}

func TestRulesOfHostPorts(t *testing.T) {
	t.Parallel()
	n := Names{Bridge: "kb-x", Hash: "12345"}
	rules := n.portRules(map[string]podPorts{
		"p1": {netip.MustParseAddr("10.1.2.3"), []PortMapping{{Protocol: "tcp", HostPort: 80, ContainerPort: 8080}}},
		"p2": {netip.MustParseAddr("10.1.2.4"), []PortMapping{{Protocol: "udp", HostIP: "192.0.2.1", HostPort: 53, ContainerPort: 53}}},
	})
	want := "-A KUBUS-HP-12345 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.2.3:8080\n" +
		"-A KUBUS-HP-12345 -d 192.0.2.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.1.2.4:53"
	if got := strings.Join(rules["nat/KUBUS-HP-12345"], "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := rules["nat/KUBUS-HPM-12345"]; len(got) != 4 {
		t.Errorf("masquerade for hairpin and loopback: %v", got)
	}
}

func TestNamesOfTwoInstancesNeverMeet(t *testing.T) {
	t.Parallel()
	a, b := NamesOf("node-1"), NamesOf("node-2")
	ip := netip.MustParseAddr("255.255.255.255")
	for _, name := range []string{a.Bridge, vethName(a, ip)} {
		if len(name) > 15 {
			t.Errorf("link name %q is too long", name)
		}
	}
	if len(a.Chain("MASQ")) > 28 {
		t.Errorf("chain name %q is too long", a.Chain("MASQ"))
	}
	if a.Bridge == b.Bridge || vethName(a, ip) == vethName(b, ip) || a.owns(b.Chain("FWD")) {
		t.Error("names of two instances are equal")
	}
}

func TestBadPodCIDRsAreRefused(t *testing.T) {
	t.Parallel()
	kittest.NeedRoot(t)
	n, err := New(Options{Instance: "t", StateDir: t.TempDir(), NSDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, cidr := range []string{"", "x", "10.0.0.0", "10.0.0.0/30", "fd00::/64"} {
		if err := n.Setup(t.Context(), cidr); err == nil {
			t.Errorf("%q was taken", cidr)
		}
	}
	if _, err := n.Reserve("x"); !errors.Is(err, ErrNotReady) {
		t.Errorf("without a CIDR: %v", err)
	}
}
