package route

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap/zaptest"

	"kubus.dev/services/proxy/internal/lab"
)

// newKeeper is the keeper of a node of the lab's, with one other node at the client's address.
func newKeeper(t *testing.T, device string) *Keeper {
	k := New(Options{Node: "own", Cluster: cluster, Device: device, Logger: zaptest.NewLogger(t)})
	own, other := peer("own", lab.Node, "10.244.7.0/24"), peer("other", lab.Outside, "10.244.8.0/24")
	k.Set("own", &own)
	k.Set("other", &other)
	return k
}

func TestRoutesAreSetPutBackAndPurged(t *testing.T) {
	l := lab.New(t)
	l.Node.Do(func() {
		foreign := &netlink.Route{Dst: network(netip.MustParsePrefix("10.244.99.0/24")), Gw: netip.MustParseAddr(lab.Outside).AsSlice()}
		if err := netlink.RouteAdd(foreign); err != nil {
			t.Fatal(err)
		}
		k := newKeeper(t, "")
		listed := func() []netip.Prefix {
			routes, err := list(cluster)
			if err != nil {
				t.Fatal(err)
			}
			var out []netip.Prefix
			for _, r := range routes {
				out = append(out, r.CIDR)
			}
			return out
		}
		if err := k.sync(); err != nil {
			t.Fatal(err)
		}
		want := []netip.Prefix{netip.MustParsePrefix("10.244.8.0/24")}
		if got := listed(); !slices.Equal(got, want) {
			t.Errorf("routes to %v, want %v", got, want)
		}
		k.Set("other", nil)
		if err := k.sync(); err != nil {
			t.Fatal(err)
		}
		if got := listed(); len(got) > 0 {
			t.Errorf("after the node went there are routes to %v", got)
		}
		other := peer("other", lab.Outside, "10.244.9.0/24")
		k.Set("other", &other)
		if err := k.sync(); err != nil {
			t.Fatal(err)
		}
		if err := Purge(cluster, ""); err != nil {
			t.Fatal(err)
		}
		if got := listed(); len(got) > 0 {
			t.Errorf("after the purge there are routes to %v", got)
		}
		all, err := netlink.RouteListFiltered(netlink.FAMILY_V4, foreign, netlink.RT_FILTER_DST)
		if err != nil || len(all) != 1 {
			t.Errorf("somebody else's route: %v, %v", all, err)
		}
	})
}

func TestARouteThatSomebodyRemovesComesBack(t *testing.T) {
	l := lab.New(t)
	l.Node.Do(func() {
		k := newKeeper(t, "")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		// Run's own goroutines stay on this namespace only when they begin on this thread: it calls
		// netlink from the calling goroutine alone, so it runs here, and the test looks on from elsewhere.
		go l.Node.Do(func() {
			defer close(done)
			defer cancel()
			there := func() bool { routes, err := list(cluster); return err == nil && len(routes) == 1 }
			for _, step := range []string{"set", "put back"} {
				deadline := time.Now().Add(20 * time.Second)
				for !there() {
					if time.Now().After(deadline) {
						t.Errorf("the route was not %s", step)
						return
					}
					time.Sleep(time.Millisecond)
				}
				routes, _ := list(cluster)
				if err := netlink.RouteDel(routes[0].native()); err != nil {
					t.Error(err)
					return
				}
			}
		})
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
		<-done
	})
}

func TestTunnelsAreSetAndPurged(t *testing.T) {
	l := lab.New(t)
	l.Node.Do(func() {
		k := newKeeper(t, "kx-test")
		for range 2 { // the second finds everything in place
			if err := k.sync(); err != nil {
				t.Fatal(err)
			}
		}
		link, err := netlink.LinkByName("kx-test")
		if err != nil {
			t.Fatal(err)
		}
		under, err := netlink.LinkByName("out0")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := link.Attrs().MTU, under.Attrs().MTU-Overhead; got != want {
			t.Errorf("MTU %d, want %d", got, want)
		}
		routes, err := list(cluster)
		if err != nil || len(routes) != 1 || routes[0] != to("10.244.8.0/24", "10.244.8.0", link.Attrs().Index) {
			t.Errorf("routes %v, %v", routes, err)
		}
		ends := func() []string {
			entries, err := netlink.NeighList(link.Attrs().Index, 7) // AF_BRIDGE
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, e := range entries {
				out = append(out, e.HardwareAddr.String()+" at "+e.IP.String())
			}
			return out
		}
		if got, want := ends(), []string{"0a:59:0a:f4:08:00 at " + lab.Outside}; !slices.Equal(got, want) {
			t.Errorf("tunnels %v, want %v", got, want)
		}
		k.Set("other", nil)
		if err := k.sync(); err != nil {
			t.Fatal(err)
		}
		if got := ends(); len(got) > 0 {
			t.Errorf("after the node went there are tunnels %v", got)
		}
		if err := Purge(cluster, "kx-test"); err != nil {
			t.Fatal(err)
		}
		if _, err := netlink.LinkByName("kx-test"); err == nil {
			t.Error("the device is there after the purge")
		}
	})
}
