package route

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var cluster = netip.MustParsePrefix("10.244.0.0/16")

func peer(name, ip, cidr string) Peer {
	return Peer{Name: name, IP: netip.MustParseAddr(ip), CIDR: netip.MustParsePrefix(cidr)}
}

func to(cidr, via string, link int) Route {
	return Route{CIDR: netip.MustParsePrefix(cidr), Via: netip.MustParseAddr(via), Link: link}
}

func TestRoutesLeadToEveryOtherNode(t *testing.T) {
	t.Parallel()
	own := peer("a", "10.0.0.1", "10.244.0.0/24")
	// Nodes of 10.0.0.0/24 are on link 2; the rest is behind a gateway; 192.0.2.0/24 is nowhere.
	paths := func(ip netip.Addr) (Path, bool) {
		switch {
		case netip.MustParsePrefix("10.0.0.0/24").Contains(ip):
			return Path{Link: 2}, true
		case netip.MustParsePrefix("192.0.2.0/24").Contains(ip):
			return Path{}, false
		}
		return Path{Via: netip.MustParseAddr("10.0.0.254"), Link: 2}, true
	}
	for _, c := range []struct {
		name  string
		peers []Peer
		want  []Route
	}{
		{"alone there is nowhere to go", []Peer{own}, nil},
		{"a neighbour is its own next hop", []Peer{own, peer("b", "10.0.0.2", "10.244.1.0/24")}, []Route{to("10.244.1.0/24", "10.0.0.2", 2)}},
		{"one behind a gateway is reached by it", []Peer{own, peer("b", "172.16.0.2", "10.244.1.0/24")}, []Route{to("10.244.1.0/24", "10.0.0.254", 2)}},
		{"one that cannot be reached has no route", []Peer{own, peer("b", "192.0.2.2", "10.244.1.0/24")}, nil},
		{"routes are ordered by range, whatever the order of the nodes", []Peer{peer("c", "10.0.0.3", "10.244.2.0/24"), own, peer("b", "10.0.0.2", "10.244.1.0/24")},
			[]Route{to("10.244.1.0/24", "10.0.0.2", 2), to("10.244.2.0/24", "10.0.0.3", 2)}},
		{"a range outside of the cluster's is not ours to route", []Peer{own, peer("b", "10.0.0.2", "10.10.1.0/24"), peer("c", "10.0.0.3", "10.0.0.0/8")}, nil},
		{"nobody takes our own range", []Peer{own, peer("b", "10.0.0.2", "10.244.0.0/25")}, nil},
		{"of two that claim a range the first by name has it", []Peer{own, peer("z", "10.0.0.2", "10.244.1.0/24"), peer("b", "10.0.0.3", "10.244.1.0/24")},
			[]Route{to("10.244.1.0/24", "10.0.0.3", 2)}},
	} {
		if got := Plan(cluster, &own, c.peers, paths); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestOnlyDifferencesAreWritten(t *testing.T) {
	t.Parallel()
	have := []Route{to("10.244.1.0/24", "10.0.0.2", 2), to("10.244.2.0/24", "10.0.0.3", 2), to("10.244.3.0/24", "10.0.0.4", 2)}
	want := []Route{to("10.244.1.0/24", "10.0.0.2", 2), to("10.244.2.0/24", "10.0.0.9", 2), to("10.244.4.0/24", "10.0.0.5", 2)}
	remove, set := differences(have, want)
	if !slices.Equal(remove, have[2:]) {
		t.Errorf("removed %v, want the node that is gone: %v", remove, have[2:])
	}
	if !slices.Equal(set, want[1:]) {
		t.Errorf("set %v, want the one that moved and the new one: %v", set, want[1:])
	}
	if remove, set := differences(want, want); len(remove)+len(set) > 0 {
		t.Errorf("a second time removes %v and sets %v", remove, set)
	}
}

func TestANodeCountsOnceItHasAnAddressAndARange(t *testing.T) {
	t.Parallel()
	node := func(cidr string, addresses ...corev1.NodeAddress) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NodeSpec{PodCIDR: cidr}, Status: corev1.NodeStatus{Addresses: addresses}}
	}
	internal := corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}
	for _, c := range []struct {
		name string
		node *corev1.Node
		want *Peer
	}{
		{"no range yet", node("", internal), nil},
		{"no address yet", node("10.244.0.0/24"), nil},
		{"an external address is not where nodes meet", node("10.244.0.0/24", corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "10.0.0.1"}), nil},
		{"IPv6 alone", node("fd00::/64", corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "fd00::1"}), nil},
		{"both", node("10.244.0.0/24", corev1.NodeAddress{Type: corev1.NodeHostName, Address: "n"}, internal), &Peer{"n", netip.MustParseAddr("10.0.0.1"), netip.MustParsePrefix("10.244.0.0/24")}},
	} {
		got := FromObject(c.node)
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
