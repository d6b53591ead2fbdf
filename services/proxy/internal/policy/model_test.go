package policy

import (
	"net/netip"
	"strings"
	"testing"

	"kubus.dev/services/proxy/internal/policytest"
)

// told is a Cluster that was told of a world.
func told(t *testing.T, w *policytest.World) *Cluster {
	t.Helper()
	c := NewCluster()
	for i, node := range w.Nodes {
		c.SetNode(node, []netip.Addr{netip.MustParseAddr(policytest.NodeAddress(i))})
	}
	for name, obj := range w.Pods {
		c.SetPod(nameOf(name), FromPod(obj))
	}
	for name, obj := range w.Namespaces {
		c.SetNamespace(name, obj.Labels, true)
	}
	for name, obj := range w.Policies {
		p, problems := FromObject(obj)
		if len(problems) > 0 {
			t.Fatalf("%s: %v", name, problems)
		}
		c.SetPolicy(nameOf(name), p)
	}
	return c
}

func nameOf(text string) Name {
	namespace, name, _ := strings.Cut(text, "/")
	return Name{namespace, name}
}

func compare(t *testing.T, seed uint64, steps int) {
	t.Helper()
	w := policytest.Random(seed, 3, 8)
	for range steps {
		c := told(t, w)
		ends := []string{policytest.Stranger, policytest.NodeAddress(0)}
		for _, name := range w.Names() {
			ends = append(ends, w.Pods[name].Status.PodIP)
		}
		for _, from := range ends {
			for _, to := range ends {
				for _, port := range policytest.Ports {
					want := w.Allowed(from, to, port)
					got := c.Decide(c.End(netip.MustParseAddr(from)), c.End(netip.MustParseAddr(to)), ProtocolOf(&port.Protocol), uint16(port.Number))
					if got.Allowed != want {
						t.Fatalf("seed %d: %s to %s port %s: allowed is %v, want %v: %+v", seed, from, to, port, got.Allowed, want, got)
					}
				}
			}
		}
		w.Change()
	}
}

func TestADecisionIsThatOfTheObjectsReadNaively(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		compare(t, seed, 3)
	}
}

func FuzzADecisionIsThatOfTheObjectsReadNaively(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { compare(t, seed, 2) })
}
