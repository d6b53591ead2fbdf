package endpoint

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func noHints() *hints { return newHints(func() []*corev1.Node { return nil }) }

// zoned is a ready node with CPUs; its zone is the first part of its name.
func zoned(name string, cpus int64) *corev1.Node {
	zone, _, _ := strings.Cut(name, "-")
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{corev1.ResourceCPU: *resource.NewQuantity(cpus, resource.DecimalSI)},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

func on(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = name } }

func distribution(kind string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.TrafficDistribution = &kind }
}

func auto(s *corev1.Service) {
	s.Annotations = map[string]string{corev1.AnnotationTopologyMode: "Auto"}
}

// hinted tells for whom the endpoints of slices are, in their order: zones and @nodes, -
// for all.
func hinted(slices []*discoveryv1.EndpointSlice) string {
	var said []string
	for _, s := range slices {
		for i := range s.Endpoints {
			hints := s.Endpoints[i].Hints
			if hints == nil {
				said = append(said, "-")
				continue
			}
			one := ""
			for _, z := range hints.ForZones {
				one += z.Name
			}
			for _, n := range hints.ForNodes {
				one += "@" + n.Name
			}
			said = append(said, one)
		}
	}
	return strings.Join(said, " ")
}

func TestHintsOfATrafficDistribution(t *testing.T) {
	t.Parallel()
	nodes := map[string]*corev1.Node{"a-1": zoned("a-1", 4), "b-1": zoned("b-1", 4), "bare": {ObjectMeta: metav1.ObjectMeta{Name: "bare"}}}
	at := func(name string) *corev1.Node { return nodes[name] }
	pods := []*corev1.Pod{newPod(0, on("a-1")), newPod(1, on("b-1")), newPod(2, on("b-1"), unready), newPod(3, on("bare"))}
	for _, c := range []struct {
		name string
		with func(*corev1.Service)
		want string
	}{
		{"none: endpoints are for all", func(*corev1.Service) {}, "- - - -"},
		{"PreferClose: for their own zone, if they are ready and have one", distribution(corev1.ServiceTrafficDistributionPreferClose), "a b - -"},
		{"PreferSameZone is the same", distribution(corev1.ServiceTrafficDistributionPreferSameZone), "a b - -"},
		{"PreferSameNode: for their node first", distribution(corev1.ServiceTrafficDistributionPreferSameNode), "a@a-1 b@b-1 - @bare"},
		{"a word of later days: for all", distribution("PreferTheMoon"), "- - - -"},
		{"the annotation counts more, and here it cannot be met", func(s *corev1.Service) {
			distribution(corev1.ServiceTrafficDistributionPreferClose)(s)
			auto(s)
		}, "- - - -"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			service := newService()
			c.with(service)
			plan := planSlices(service, pods, at, nil, now, noHints())
			if got := hinted(plan.Create); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if again := planSlices(service, pods, at, named(plan.Create), now, noHints()); again.changes() {
				t.Errorf("the same again changes %+v", again)
			}
		})
	}
}

func TestHintsFollowTheService(t *testing.T) {
	t.Parallel()
	nodes := map[string]*corev1.Node{"a-1": zoned("a-1", 4), "b-1": zoned("b-1", 4)}
	at := func(name string) *corev1.Node { return nodes[name] }
	pods := []*corev1.Pod{newPod(0, on("a-1")), newPod(1, on("b-1"))}
	service, h := newService(), noHints()
	have := named(planSlices(service, pods, at, nil, now, h).Create)
	for _, step := range []struct{ kind, want string }{
		{corev1.ServiceTrafficDistributionPreferSameNode, "a@a-1 b@b-1"}, {corev1.ServiceTrafficDistributionPreferSameZone, "a b"}, {"", "- -"},
	} {
		service.Spec.TrafficDistribution = &step.kind
		before := have[0].DeepCopy()
		plan := planSlices(service, pods, at, have, now, h)
		if len(plan.Create)+len(plan.Delete) != 0 || hinted(plan.Update) != step.want {
			t.Fatalf("%q: got %q, want an update to %q", step.kind, hinted(plan.Update), step.want)
		}
		if hinted(have) != hinted([]*discoveryv1.EndpointSlice{before}) {
			t.Fatalf("%q: what is there was modified", step.kind)
		}
		have = plan.Update
	}
}

func TestEachFamilyHasHintsOfItsOwn(t *testing.T) {
	t.Parallel()
	service := newService()
	distribution(corev1.ServiceTrafficDistributionPreferClose)(service)
	service.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	p := newPod(0, on("a-1"))
	p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: "fd00::1"})
	plan := planSlices(service, []*corev1.Pod{p}, func(string) *corev1.Node { return zoned("a-1", 1) }, nil, now, noHints())
	if len(plan.Create) != 2 || hinted(plan.Create) != "a a" || plan.Create[1].AddressType != discoveryv1.AddressTypeIPv6 || plan.Create[1].Endpoints[0].Addresses[0] != "fd00::1" {
		t.Errorf("got %+v", plan.Create)
	}
}

func TestSharesByTopology(t *testing.T) {
	t.Parallel()
	spread := func(a, b int) (pods []*corev1.Pod) {
		for n := range a + b {
			pods = append(pods, newPod(n, on(map[bool]string{true: "a-1", false: "b-1"}[n < a])))
		}
		return pods
	}
	for _, c := range []struct {
		name  string
		nodes []*corev1.Node
		pods  []*corev1.Pod
		want  string // how many are for a and for b
		note  string
	}{
		{"equal zones, equal pods: each its own", []*corev1.Node{zoned("a-1", 4), zoned("b-1", 4)}, spread(3, 3), "3 3", "Topology Aware Hints has been enabled, addressType: IPv4"},
		{"the zone with fewer pods gets some of the other's", []*corev1.Node{zoned("a-1", 4), zoned("b-1", 4)}, spread(5, 1), "3 3", "Topology Aware Hints has been enabled, addressType: IPv4"},
		{"a larger zone gets more", []*corev1.Node{zoned("a-1", 8), zoned("b-1", 4)}, spread(3, 3), "4 2", "Topology Aware Hints has been enabled, addressType: IPv4"},
		{"one zone has no shares", []*corev1.Node{zoned("a-1", 4), zoned("a-2", 4)}, spread(6, 0), "0 0", "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes, addressType: IPv4"},
		{"too few pods for all zones", []*corev1.Node{zoned("a-1", 4), zoned("b-1", 4)}, spread(1, 0), "0 0", "Insufficient number of endpoints (1 endpoints, 2 zones), addressType: IPv4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			service := newService()
			auto(service)
			h := newHints(func() []*corev1.Node { return c.nodes })
			at := func(name string) *corev1.Node {
				for _, n := range append(c.nodes, zoned("b-1", 0)) {
					if n.Name == name {
						return n
					}
				}
				return nil
			}
			plan := planSlices(service, c.pods, at, nil, now, h)
			said := hinted(plan.Create)
			if got := fmt.Sprint(strings.Count(said, "a"), " ", strings.Count(said, "b")); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if len(plan.Notes) != 1 || plan.Notes[0].Message != c.note {
				t.Errorf("%d notes, want one: %q", len(plan.Notes), c.note)
				for _, n := range plan.Notes {
					t.Logf("%s: %s", n.Reason, n.Message)
				}
			}
		})
	}
}

func TestWhichServicesNodesMakeUnfair(t *testing.T) {
	t.Parallel()
	nodes := []*corev1.Node{zoned("a-1", 4), zoned("b-1", 4)}
	h := newHints(func() []*corev1.Node { return nodes })
	at := func(name string) *corev1.Node { return zoned(name, 4) }
	fair, plain := newService(), newService()
	auto(fair)
	plain.Name = "plain"
	unfair := func() (names string) {
		for _, s := range h.Unfair([]*corev1.Service{fair, plain}) {
			names += s.Name
		}
		return names
	}
	if got := unfair(); got != "web" {
		t.Errorf("one that asks for shares and has none yet: %q", got)
	}
	planSlices(fair, []*corev1.Pod{newPod(0, on("a-1")), newPod(1, on("a-1")), newPod(2, on("b-1")), newPod(3, on("b-1"))}, at, nil, now, h)
	if got := unfair(); got != "" {
		t.Errorf("it has its shares: %q", got)
	}
	beat := nodes[0].DeepCopy()
	beat.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(now)
	if h.nodeChanged(nodes[0], beat) {
		t.Error("a heartbeat counts as a change")
	}
	more := zoned("b-2", 12)
	nodes = append(nodes, more)
	if !h.nodeChanged(nil, more) || unfair() != "web" {
		t.Error("a zone of three quarters of the CPUs has half of the endpoints, and nobody is told")
	}
	plan := planSlices(plain, nil, at, nil, now, h)
	if len(plan.Notes) != 0 {
		t.Errorf("a service that never asked is told %+v", plan.Notes)
	}
	fair.Annotations = nil
	if plan = planSlices(fair, nil, at, nil, now, h); len(plan.Notes) != 1 || plan.Notes[0].Message != "Topology Aware Hints has been disabled, addressType: IPv4" {
		t.Errorf("a service that asks no more is told %+v", plan.Notes)
	}
}
