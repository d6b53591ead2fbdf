package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/gateway/internal/service"
	"kubus.dev/gateway/internal/storage"
	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
)

type world struct {
	t     testing.TB
	log   *statelog.Log
	store *storage.Store
	hooks *service.Hooks
}

var gr = proto.GroupResource{Resource: "services"}

func start(t testing.TB, cidr string, first, last int) *world {
	t.Helper()
	return startOver(t, bustest.Start(t), cidr, first, last)
}

// startOver is one more gateway's Services. cidr may name a range of each family.
func startOver(t testing.TB, conn *bus.Conn, cidr string, first, last int) *world {
	t.Helper()
	return startWith(t, conn, service.Options{FirstPort: first, LastPort: last}, cidr, nil)
}

// startWith may put something between the storage and the log.
func startWith(t testing.TB, conn *bus.Conn, o service.Options, cidr string, between func(storage.Log) storage.Log) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	views := statelog.OpenViews(ctx, conn, zap.NewNop())
	log, err := statelog.OpenLog(ctx, conn, views, 1, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := views.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, text := range strings.Split(cidr, ",") {
		o.CIDRs = append(o.CIDRs, netip.MustParsePrefix(text))
	}
	o.Log, o.Logger = log, zap.NewNop()
	hooks, err := service.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var backend storage.Log = log
	if between != nil {
		backend = between(log)
	}
	registry := resource.NewRegistry(resource.BuiltIn())
	set := storage.NewSet(&storage.Backend{Log: backend}, storage.Options{Registry: registry, Hooks: map[proto.GroupResource]storage.Hooks{
		gr: {BeginCreate: hooks.BeginCreate, BeginUpdate: hooks.BeginUpdate, AfterDelete: hooks.AfterDelete},
	}})
	return &world{t, log, set.Store(registry.Load().Of(gr)), hooks}
}

func (w *world) ctx() context.Context {
	info := &request.RequestInfo{IsResourceRequest: true, APIVersion: "v1", Resource: "services", Namespace: "a"}
	return request.WithRequestInfo(request.WithNamespace(w.t.Context(), "a"), info)
}

// create writes a new Service and shows in svc what became of it.
func (w *world) create(svc *core.Service, options ...metav1.CreateOptions) error {
	svc.Namespace = "a"
	options = append(options, metav1.CreateOptions{})
	out, err := w.store.Create(w.ctx(), svc, nil, &options[0])
	if err == nil {
		*svc = *out.(*core.Service)
	}
	return err
}

// update writes svc over whatever is there.
func (w *world) update(svc *core.Service) error {
	svc.Namespace = "a"
	out, _, err := w.store.Update(w.ctx(), svc.Name, rest.DefaultUpdatedObjectInfo(svc), nil, nil, false, &metav1.UpdateOptions{})
	if err == nil {
		*svc = *out.(*core.Service)
	}
	return err
}

func (w *world) remove(name string) {
	w.t.Helper()
	if _, _, err := w.store.Delete(w.ctx(), name, nil, nil); err != nil {
		w.t.Fatal(err)
	}
}

// claims are the names in a collection of claims.
func (w *world) claims(gr proto.GroupResource) (names []string) {
	w.log.View(gr).Snapshot(gr).Ascend("", func(e *statelog.Entry) bool {
		names = append(names, e.Key().Name)
		return true
	})
	return names
}

var nodePorts = proto.GroupResource{Group: "kubus", Resource: "nodeports"}

func svc(name string, kind core.ServiceType, ports ...core.ServicePort) *core.Service {
	if len(ports) == 0 && kind != core.ServiceTypeExternalName {
		ports = []core.ServicePort{{Port: 80, Protocol: core.ProtocolTCP}}
	}
	for i := range ports {
		ports[i].TargetPort = intstr.FromInt32(ports[i].Port)
	}
	s := &core.Service{Spec: core.ServiceSpec{Type: kind, Ports: ports, Selector: map[string]string{"a": "b"}, SessionAffinity: core.ServiceAffinityNone}}
	if kind != core.ServiceTypeExternalName {
		policy := core.ServiceInternalTrafficPolicyCluster
		s.Spec.InternalTrafficPolicy = &policy
	}
	if kind == core.ServiceTypeNodePort || kind == core.ServiceTypeLoadBalancer {
		s.Spec.ExternalTrafficPolicy = core.ServiceExternalTrafficPolicyCluster
	}
	if kind == core.ServiceTypeLoadBalancer {
		yes := true
		s.Spec.AllocateLoadBalancerNodePorts = &yes
	}
	s.Name = name
	return s
}

func TestConcurrentCreatesNeverShareAnAddressAndTheRangeIsUsedUp(t *testing.T) {
	w := start(t, "10.1.0.0/26", 30000, 30010)
	var wait sync.WaitGroup
	var mu sync.Mutex
	owners := map[string]string{}
	for i := range 62 {
		wait.Go(func() {
			s := svc(fmt.Sprint("s", i), core.ServiceTypeClusterIP)
			if err := w.create(s); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if other, taken := owners[s.Spec.ClusterIP]; taken {
				t.Errorf("%s belongs to %s and %s", s.Spec.ClusterIP, other, s.Name)
			}
			owners[s.Spec.ClusterIP] = s.Name
		})
	}
	wait.Wait()
	err := w.create(svc("late", core.ServiceTypeClusterIP))
	if err == nil || !strings.Contains(err.Error(), "range is full") {
		t.Errorf("got %v, want a full range", err)
	}
	w.remove("s7")
	if err := w.create(svc("late", core.ServiceTypeClusterIP)); err != nil {
		t.Errorf("a deleted Service's address is not free: %v", err)
	}
}

func TestSeveralGatewaysNeverGiveTheSameAddress(t *testing.T) {
	conn := bustest.Start(t)
	gateways := []*world{startOver(t, conn, "10.1.0.0/26", 30000, 30010), startOver(t, conn, "10.1.0.0/26", 30000, 30010), startOver(t, conn, "10.1.0.0/26", 30000, 30010)}
	var wait sync.WaitGroup
	var mu sync.Mutex
	owners := map[string]string{}
	asked := 0
	for i := range 57 {
		wait.Go(func() {
			s := svc(fmt.Sprint("s", i), core.ServiceTypeClusterIP)
			if i < 6 {
				s.Spec.ClusterIP = "10.1.0.7" // all ask for the same: one gets it
			}
			err := gateways[i%3].create(s)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if i >= 6 || !strings.Contains(err.Error(), "already allocated") {
					t.Error(err)
				}
				return
			}
			if i < 6 {
				asked++
			}
			if other, taken := owners[s.Spec.ClusterIP]; taken {
				t.Errorf("%s belongs to %s and %s", s.Spec.ClusterIP, other, s.Name)
			}
			owners[s.Spec.ClusterIP] = s.Name
		})
	}
	wait.Wait()
	if asked > 1 {
		t.Errorf("%d Services got the one address that they asked for", asked)
	}
}

func TestAddressesAndPortsThatAreAskedFor(t *testing.T) {
	w := start(t, "10.1.0.0/24", 30000, 30100)
	port := func(n, nodePort int32) core.ServicePort {
		return core.ServicePort{Name: fmt.Sprint("p", n), Port: n, Protocol: core.ProtocolTCP, NodePort: nodePort}
	}
	first := svc("first", core.ServiceTypeNodePort, port(80, 30001))
	first.Spec.ClusterIP = "10.1.0.10"
	if err := w.create(first); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ip   string
		port int32
		want string
	}{
		"a taken address":     {"10.1.0.10", 0, "failed to allocate IP 10.1.0.10: provided IP is already allocated"},
		"an address outside":  {"10.2.0.1", 0, "failed to allocate IP 10.2.0.1: the provided network does not match the current range"},
		"the network itself":  {"10.1.0.0", 0, "the provided network does not match the current range"},
		"the last address":    {"10.1.0.255", 0, "the provided network does not match the current range"},
		"a taken port":        {"", 30001, "provided port is already allocated"},
		"a port out of range": {"", 80, "provided port is not in the valid range. The range of valid ports is 30000-30100"},
		"an IPv6 address":     {"fd00::1", 0, "IPv6 is not configured on this cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			s := svc("x", core.ServiceTypeNodePort, port(80, c.port))
			s.Spec.ClusterIP = c.ip
			if err := w.create(s); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	// What failed has left nothing behind.
	second := svc("second", core.ServiceTypeNodePort, port(80, 30002))
	second.Spec.ClusterIP = "10.1.0.11"
	if err := w.create(second); err != nil {
		t.Error(err)
	}
}

func TestTheSamePortOfTwoProtocolsSharesANodePort(t *testing.T) {
	w := start(t, "10.1.0.0/24", 30000, 30100)
	s := svc("dns", core.ServiceTypeNodePort,
		core.ServicePort{Name: "udp", Port: 53, Protocol: core.ProtocolUDP}, core.ServicePort{Name: "tcp", Port: 53, Protocol: core.ProtocolTCP})
	if err := w.create(s); err != nil {
		t.Fatal(err)
	}
	if s.Spec.Ports[0].NodePort == 0 || s.Spec.Ports[0].NodePort != s.Spec.Ports[1].NodePort {
		t.Errorf("got %+v", s.Spec.Ports)
	}
}

func TestUpdatesKeepGiveAndFree(t *testing.T) {
	w := start(t, "10.1.0.0/24", 30000, 30100)
	s := svc("s", core.ServiceTypeClusterIP, core.ServicePort{Name: "a", Port: 80, Protocol: core.ProtocolTCP})
	if err := w.create(s); err != nil {
		t.Fatal(err)
	}
	// The YAML of the creation again, now as NodePort.
	again := svc("s", core.ServiceTypeNodePort, core.ServicePort{Name: "a", Port: 80, Protocol: core.ProtocolTCP})
	if err := w.update(again); err != nil {
		t.Fatal(err)
	}
	port := again.Spec.Ports[0].NodePort
	if again.Spec.ClusterIP != s.Spec.ClusterIP || port == 0 {
		t.Fatalf("got %+v", again.Spec)
	}
	third := svc("s", core.ServiceTypeNodePort, core.ServicePort{Name: "a", Port: 8080, Protocol: core.ProtocolTCP})
	if err := w.update(third); err != nil || third.Spec.Ports[0].NodePort != port {
		t.Fatalf("the node port changed: %+v, %v", third.Spec.Ports, err)
	}
	external := svc("s", core.ServiceTypeExternalName)
	external.Spec.ExternalName = "example.com"
	if err := w.update(external); err != nil {
		t.Fatal(err)
	}
	other := svc("other", core.ServiceTypeNodePort, core.ServicePort{Name: "a", Port: 80, Protocol: core.ProtocolTCP, NodePort: port})
	other.Spec.ClusterIP = s.Spec.ClusterIP
	if err := w.create(other); err != nil {
		t.Errorf("what an ExternalName Service gave up is not free: %v", err)
	}
	back := svc("s", core.ServiceTypeClusterIP, core.ServicePort{Name: "a", Port: 80, Protocol: core.ProtocolTCP})
	if err := w.update(back); err != nil || back.Spec.ClusterIP == "" || back.Spec.ClusterIP == s.Spec.ClusterIP {
		t.Errorf("got %s, %v", back.Spec.ClusterIP, err)
	}
}

func TestADryRunTakesNothing(t *testing.T) {
	w := start(t, "10.1.0.0/30", 30000, 30000)
	for range 5 {
		s := svc("s", core.ServiceTypeNodePort, core.ServicePort{Name: "a", Port: 80, Protocol: core.ProtocolTCP})
		if err := w.create(s, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Fatal(err)
		}
		if s.Spec.ClusterIP == "" || s.Spec.Ports[0].NodePort != 30000 {
			out, _ := json.Marshal(s.Spec)
			t.Errorf("got %s", out)
		}
	}
	if got := append(w.claims(service.Addresses), w.claims(nodePorts)...); len(got) != 0 {
		t.Errorf("claims are left: %v", got)
	}
}

func TestHeadlessServicesGetNoAddress(t *testing.T) {
	w := start(t, "10.1.0.0/24", 30000, 30100)
	s := svc("s", core.ServiceTypeClusterIP)
	s.Spec.ClusterIP, s.Spec.ClusterIPs = core.ClusterIPNone, []string{core.ClusterIPNone}
	if err := w.create(s); err != nil || s.Spec.ClusterIP != core.ClusterIPNone || len(s.Spec.IPFamilies) != 1 {
		t.Errorf("got %+v, %v", s.Spec, err)
	}
	s = svc("t", core.ServiceTypeClusterIP)
	s.Spec.Selector = nil
	s.Spec.ClusterIP, s.Spec.ClusterIPs = core.ClusterIPNone, []string{core.ClusterIPNone}
	if err := w.create(s); err != nil || len(s.Spec.IPFamilies) != 2 {
		t.Errorf("without a selector both families are named: got %+v, %v", s.Spec, err)
	}
}
