package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/gateway/internal/service"
	"kubus.dev/gateway/internal/storage"
	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
)

// gate stands still between the claims of a Service and the Service, as a gateway may
// whose log commits them one after the other.
type gate struct {
	storage.Log
	armed   atomic.Bool
	arrived chan struct{}
	let     chan error // what the held write is answered; nil lets it pass
}

func (g *gate) Commit(ctx context.Context, w statelog.Write) (uint64, error) {
	if w.Key.GroupResource == gr && g.armed.CompareAndSwap(true, false) {
		for _, claim := range w.First {
			if _, err := g.Log.Commit(ctx, claim); err != nil {
				return 0, err
			}
		}
		w.First = nil
		close(g.arrived)
		if err := <-g.let; err != nil {
			return 0, err
		}
	}
	return g.Log.Commit(ctx, w)
}

// gated is a gateway whose first write of a Service stands still.
func gated(t *testing.T, conn *bus.Conn, cidr string) (*world, *gate) {
	g := &gate{arrived: make(chan struct{}), let: make(chan error, 1)}
	g.armed.Store(true)
	w := startWith(t, conn, service.Options{FirstPort: 30000, LastPort: 30100}, cidr, func(l storage.Log) storage.Log {
		g.Log = l
		return g
	})
	return w, g
}

// repairing is a gateway that releases claims without a Service at once.
func repairing(t *testing.T, conn *bus.Conn, cidr string) *world {
	w := startWith(t, conn, service.Options{FirstPort: 30000, LastPort: 30100, Grace: time.Nanosecond}, cidr, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.hooks.Repair(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("repairing ended: %v", err)
		}
	})
	return w
}

// until waits for the log to say something.
func until(t *testing.T, w *world, what string, yes func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !yes() {
		select {
		case <-deadline:
			t.Fatalf("%s: addresses %v, ports %v", what, w.claims(service.Addresses), w.claims(nodePorts))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func asksFor(name, ip string, port int32) *core.Service {
	s := svc(name, core.ServiceTypeNodePort, core.ServicePort{Port: 80, Protocol: core.ProtocolTCP, NodePort: port})
	s.Spec.ClusterIP = ip
	return s
}

func TestAGatewayThatStoodStillCannotWriteWithWhatWasTakenFromIt(t *testing.T) {
	conn := bustest.Start(t)
	stalled, gate := gated(t, conn, "10.1.0.0/24")
	result := make(chan error, 1)
	late := asksFor("late", "10.1.0.7", 30007)
	go func() { result <- stalled.create(late) }()
	<-gate.arrived
	other := repairing(t, conn, "10.1.0.0/24")
	until(t, other, "the claims of the gateway that stands still are not released", func() bool {
		return len(other.claims(service.Addresses))+len(other.claims(nodePorts)) == 0
	})
	if err := other.create(asksFor("quick", "10.1.0.7", 30007)); err != nil {
		t.Fatal(err)
	}
	gate.let <- nil
	if err := <-result; err == nil || !strings.Contains(err.Error(), "already allocated") {
		t.Errorf("the late write got %v, and %s", err, late.Spec.ClusterIP)
	}
	if other.log.View(gr).Get(gr, "a", "late") != nil {
		t.Error("two Services hold 10.1.0.7")
	}
}

func TestAGatewayThatStoodStillChoosesAnewWhatNobodyAskedFor(t *testing.T) {
	conn := bustest.Start(t)
	stalled, gate := gated(t, conn, "10.1.0.0/30") // two addresses
	result := make(chan error, 1)
	late := svc("late", core.ServiceTypeClusterIP)
	go func() { result <- stalled.create(late) }()
	<-gate.arrived
	other := repairing(t, conn, "10.1.0.0/30")
	until(t, other, "the claim is not released", func() bool { return len(other.claims(service.Addresses)) == 0 })
	quick := svc("quick", core.ServiceTypeClusterIP)
	if err := other.create(quick); err != nil {
		t.Fatal(err)
	}
	gate.let <- nil
	if err := <-result; err != nil || late.Spec.ClusterIP == quick.Spec.ClusterIP {
		t.Errorf("got %v, addresses %s and %s", err, late.Spec.ClusterIP, quick.Spec.ClusterIP)
	}
}

func TestAnUpdateThatStoodStillLosesWhatItClaimed(t *testing.T) {
	conn := bustest.Start(t)
	stalled, gate := gated(t, conn, "10.1.0.0/24")
	gate.armed.Store(false)
	external := svc("s", core.ServiceTypeExternalName)
	external.Spec.ExternalName = "example.com"
	if err := stalled.create(external); err != nil {
		t.Fatal(err)
	}
	gate.armed.Store(true)
	result := make(chan error, 1)
	go func() { result <- stalled.update(asksFor("s", "10.1.0.7", 30007)) }()
	<-gate.arrived
	other := repairing(t, conn, "10.1.0.0/24")
	until(t, other, "the claims are not released", func() bool {
		return len(other.claims(service.Addresses))+len(other.claims(nodePorts)) == 0
	})
	if err := other.create(asksFor("quick", "10.1.0.7", 30007)); err != nil {
		t.Fatal(err)
	}
	gate.let <- nil
	if err := <-result; err == nil || !strings.Contains(err.Error(), "already allocated") {
		t.Errorf("the late update got %v", err)
	}
}

func TestWhatAGatewayClaimedBeforeItDiedIsFreeAgain(t *testing.T) {
	conn := bustest.Start(t)
	dying, gate := gated(t, conn, "10.1.0.0/24")
	gate.let <- fmt.Errorf("%w: gone", statelog.ErrUnavailable)
	if err := dying.create(asksFor("s", "10.1.0.7", 30007)); err == nil {
		t.Fatal("the write of a gateway that died succeeded")
	}
	if got := dying.claims(service.Addresses); !slices.Equal(got, []string{"10.1.0.7"}) {
		t.Fatalf("a write whose outcome is unknown keeps its claims, got %v", got)
	}
	next := repairing(t, conn, "10.1.0.0/24")
	until(t, next, "the claims are not released", func() bool {
		return len(next.claims(service.Addresses))+len(next.claims(nodePorts)) == 0
	})
	// The name, the address and the port serve again.
	if err := next.create(asksFor("s", "10.1.0.7", 30007)); err != nil {
		t.Error(err)
	}
}

func TestAServiceWithoutClaimsGetsThem(t *testing.T) {
	conn := bustest.Start(t)
	old := startOver(t, conn, "10.1.0.0/24", 30000, 30100)
	s := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "old", UID: "1"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.1.0.7", ClusterIPs: []string{"10.1.0.7"}, HealthCheckNodePort: 30008,
		Ports: []corev1.ServicePort{{Port: 80, NodePort: 30007}}}}
	put(t, old.log, proto.Key{GroupResource: gr, Namespace: "a", Name: "old"}, s)
	w := repairing(t, conn, "10.1.0.0/24")
	until(t, w, "there are no claims", func() bool {
		return slices.Equal(w.claims(service.Addresses), []string{"10.1.0.7"}) && slices.Equal(w.claims(nodePorts), []string{"30007", "30008"})
	})
	e := w.log.View(gr).Get(service.Addresses, "", "10.1.0.7")
	got, err := statelog.Decode[networkingv1.IPAddress](e)
	want := networkingv1.ParentReference{Resource: "services", Namespace: "a", Name: "old"}
	if err != nil || got.Spec.ParentRef == nil || *got.Spec.ParentRef != want || got.Labels["ipaddress.kubernetes.io/ip-family"] != "IPv4" || got.Labels["ipaddress.kubernetes.io/managed-by"] != "ipallocator.k8s.io" || got.UID == "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAUserWhoDeletesTheIPAddressOfAServiceFreesNothing(t *testing.T) {
	conn := bustest.Start(t)
	w := startOver(t, conn, "10.1.0.0/24", 30000, 30100)
	if err := w.create(asksFor("s", "10.1.0.7", 30007)); err != nil {
		t.Fatal(err)
	}
	first := deleteAddress(t, w, "10.1.0.7")
	if err := w.create(asksFor("thief", "10.1.0.7", 30008)); err == nil || !strings.Contains(err.Error(), "already allocated") {
		t.Errorf("got %v", err)
	}
	repaired := repairing(t, conn, "10.1.0.0/24")
	until(t, repaired, "the IPAddress does not come back", func() bool {
		e := repaired.log.View(gr).Get(service.Addresses, "", "10.1.0.7")
		return e != nil && e.Revision() > first
	})
}

func TestAUserWhoDeletesAnIPAddressThatIsAboutToBeUsedTakesItFromItsService(t *testing.T) {
	conn := bustest.Start(t)
	w, gate := gated(t, conn, "10.1.0.0/30")
	result := make(chan error, 1)
	s := svc("s", core.ServiceTypeClusterIP)
	go func() { result <- w.create(s) }()
	<-gate.arrived
	deleteAddress(t, w, w.claims(service.Addresses)[0])
	gate.let <- nil
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if got := w.claims(service.Addresses); !slices.Equal(got, []string{s.Spec.ClusterIP}) {
		t.Errorf("the Service has %s, claimed is %v", s.Spec.ClusterIP, got)
	}
}

// deleteAddress does what the storage of IPAddresses does for a user.
func deleteAddress(t *testing.T, w *world, name string) uint64 {
	t.Helper()
	e := w.log.View(gr).Get(service.Addresses, "", name)
	revision, err := w.hooks.RemoveAddress(t.Context(), statelog.Write{Key: e.Key(), Expect: e.Revision(), Data: e.Data(), Delete: true})
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// put stores an object as it is, whatever is there.
func put(t *testing.T, log *statelog.Log, key proto.Key, obj any) {
	t.Helper()
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	write := statelog.Write{Key: key, Data: data}
	if e := log.View(key.GroupResource).Get(key.GroupResource, key.Namespace, key.Name); e != nil {
		write.Expect = e.Revision()
	}
	if _, err := log.Commit(t.Context(), write); err != nil {
		t.Fatal(err)
	}
}
