package intake

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
)

func testAddresses(t *testing.T, allowed ...string) (*Addresses, func() float64) {
	t.Helper()
	ranges, err := ParseRanges(allowed)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	a := NewAddresses(ranges, registry, zap.NewNop())
	return a, func() float64 {
		families, err := registry.Gather()
		if err != nil || len(families) != 1 {
			t.Fatalf("got %v, %v", families, err)
		}
		return families[0].Metric[0].Counter.GetValue()
	}
}

var elsewhere = others{
	nodes: []netip.Addr{netip.MustParseAddr("192.0.2.2")},
	pods:  []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24"), netip.MustParsePrefix("10.244.1.0/24")},
}

func TestANodeHasNoAddressesButItsOwn(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"192.0.2.1": true, "2001:db8::1": true,
		"192.0.2.2": false, "10.244.1.7": false, // another node's, a pod's
		"127.0.0.1": false, "::1": false, "0.0.0.0": false, "169.254.169.254": false, "fe80::1": false, "224.0.0.1": false, "255.255.255.255": false, "::ffff:127.0.0.1": false, "::ffff:192.0.2.2": false, "x": false,
	} {
		a, refused := testAddresses(t)
		got := a.ofNode("n", []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}, elsewhere)
		if (len(got) == 1) != want || (refused() == 0) != want {
			t.Errorf("%s: got %v, refused %v", address, got, refused())
		}
	}
}

func TestAnOperatorSaysWhichAddressesNodesHave(t *testing.T) {
	t.Parallel()
	a, _ := testAddresses(t, "198.51.100.7", "203.0.113.0/24")
	said := []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: "198.51.100.7"}, {Type: corev1.NodeExternalIP, Address: "203.0.113.9"},
		{Type: corev1.NodeInternalIP, Address: "8.8.8.8"}, {Type: corev1.NodeHostName, Address: "n"}, {Type: corev1.NodeHostName, Address: "other"}, {Type: corev1.NodeExternalDNS, Address: "example.com"},
	}
	got := a.ofNode("n", said, others{})
	if fmt.Sprint(got) != "[{InternalIP 198.51.100.7} {ExternalIP 203.0.113.9} {Hostname n}]" {
		t.Errorf("got %v", got)
	}
	if _, err := ParseRanges([]string{"10.0.0.0/99"}); err == nil {
		t.Error("a range that is none was taken")
	}
}

func TestAPodsAddressIsInItsNodesRange(t *testing.T) {
	t.Parallel()
	own := []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")}
	for name, c := range map[string]struct {
		ip     string
		host   bool
		range_ []netip.Prefix
		want   bool
	}{
		"of the node's range":                    {"10.244.0.5", false, own, true},
		"of another node's range":                {"10.244.1.5", false, own, false},
		"loopback":                               {"127.0.0.1", false, nil, false},
		"the metadata service":                   {"169.254.169.254", false, nil, false},
		"a node without a range":                 {"10.1.2.3", false, nil, true},
		"the host's network":                     {"192.0.2.1", true, own, true},
		"another's host's network":               {"192.0.2.2", true, own, false},
		"a pod's address for the host's network": {"10.244.1.5", true, own, false},
	} {
		a, refused := testAddresses(t)
		status := corev1.PodStatus{PodIP: c.ip, PodIPs: []corev1.PodIP{{IP: c.ip}}}
		a.ofPod("n", c.range_, &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: c.host}}, &status, func() others { return elsewhere })
		if got := status.PodIP != ""; got != c.want || (len(status.PodIPs) == 1) != c.want || (refused() == 0) != c.want {
			t.Errorf("%s: got %+v, refused %v", name, status, refused())
		}
	}
}
