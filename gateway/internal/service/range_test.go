package service_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/gateway/internal/service"
	"kubus.dev/proto"
)

func serviceCIDR(w *world, name string, ready metav1.ConditionStatus, cidrs ...string) {
	c := networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
	if ready != "" {
		c.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: ready}}
	}
	put(w.t.(*testing.T), w.log, proto.Key{GroupResource: proto.GroupResource{Group: "networking.k8s.io", Resource: "servicecidrs"}, Name: name}, c)
}

func TestServiceCIDRsSayWhatIsGivenOut(t *testing.T) {
	w := start(t, "10.1.0.0/30", 30000, 30100)
	serviceCIDR(w, "kubernetes", metav1.ConditionTrue, "10.1.0.0/30")
	for _, name := range []string{"a", "b"} {
		if err := w.create(svc(name, core.ServiceTypeClusterIP)); err != nil {
			t.Fatal(err)
		}
	}
	full := func(why string) {
		t.Helper()
		if err := w.create(svc("c", core.ServiceTypeClusterIP)); err == nil || !strings.Contains(err.Error(), `failed to allocate a serviceIP for Service "c": range is full`) {
			t.Errorf("%s: got %v", why, err)
		}
	}
	full("the range has two addresses")
	serviceCIDR(w, "more", metav1.ConditionFalse, "10.2.0.0/30", "fd00::/120")
	full("the other range is not ready")
	serviceCIDR(w, "more", "", "10.2.0.0/30", "fd00::/120")
	c := svc("c", core.ServiceTypeClusterIP)
	if err := w.create(c); err != nil || !strings.HasPrefix(c.Spec.ClusterIP, "10.2.0.") {
		t.Errorf("got %s, %v", c.Spec.ClusterIP, err)
	}
	asked := svc("d", core.ServiceTypeClusterIP)
	asked.Spec.ClusterIP = map[string]string{"10.2.0.1": "10.2.0.2", "10.2.0.2": "10.2.0.1"}[c.Spec.ClusterIP]
	if err := w.create(asked); err != nil {
		t.Errorf("asking for an address of the second range: %v", err)
	}
}

func TestServicesOfTwoFamilies(t *testing.T) {
	w := start(t, "10.1.0.0/24,fd00::/112", 30000, 30100)
	policy := func(s *core.Service, p core.IPFamilyPolicy) *core.Service {
		s.Spec.IPFamilyPolicy = &p
		return s
	}
	one := svc("one", core.ServiceTypeClusterIP)
	if err := w.create(one); err != nil || len(one.Spec.ClusterIPs) != 1 || !strings.HasPrefix(one.Spec.ClusterIP, "10.") {
		t.Fatalf("got %v, %v", one.Spec.ClusterIPs, err)
	}
	two := policy(svc("two", core.ServiceTypeClusterIP), core.IPFamilyPolicyRequireDualStack)
	if err := w.create(two); err != nil || len(two.Spec.ClusterIPs) != 2 || !strings.HasPrefix(two.Spec.ClusterIPs[1], "fd00::") {
		t.Fatalf("got %v, %v", two.Spec.ClusterIPs, err)
	}
	six := svc("six", core.ServiceTypeClusterIP)
	six.Spec.IPFamilies = []core.IPFamily{core.IPv6Protocol}
	if err := w.create(six); err != nil || !strings.HasPrefix(six.Spec.ClusterIP, "fd00::") {
		t.Fatalf("got %v, %v", six.Spec.ClusterIPs, err)
	}
	upgraded := policy(svc("one", core.ServiceTypeClusterIP), core.IPFamilyPolicyPreferDualStack)
	if err := w.update(upgraded); err != nil || len(upgraded.Spec.ClusterIPs) != 2 || upgraded.Spec.ClusterIP != one.Spec.ClusterIP {
		t.Fatalf("upgrading: got %v, %v", upgraded.Spec.ClusterIPs, err)
	}
	second := upgraded.Spec.ClusterIPs[1]
	if !slices.Contains(w.claims(service.Addresses), second) {
		t.Errorf("%s is not claimed: %v", second, w.claims(service.Addresses))
	}
	downgraded := policy(svc("one", core.ServiceTypeClusterIP), core.IPFamilyPolicySingleStack)
	if err := w.update(downgraded); err != nil || len(downgraded.Spec.ClusterIPs) != 1 {
		t.Fatalf("downgrading: got %v, %v", downgraded.Spec.ClusterIPs, err)
	}
	if slices.Contains(w.claims(service.Addresses), second) {
		t.Errorf("%s is still claimed", second)
	}
	shrunk := policy(svc("two", core.ServiceTypeClusterIP), core.IPFamilyPolicyRequireDualStack)
	shrunk.Spec.ClusterIP, shrunk.Spec.ClusterIPs = two.Spec.ClusterIP, two.Spec.ClusterIPs[:1]
	if err := w.update(shrunk); err == nil || !strings.Contains(err.Error(), "must be 'SingleStack' to release the secondary cluster IP") {
		t.Errorf("got %v", err)
	}
}

func TestAClusterOfOneFamilyRefusesTwo(t *testing.T) {
	w := start(t, "10.1.0.0/24", 30000, 30100)
	required := core.IPFamilyPolicyRequireDualStack
	s := svc("s", core.ServiceTypeClusterIP)
	s.Spec.IPFamilyPolicy = &required
	if err := w.create(s); err == nil || !strings.Contains(err.Error(), "this cluster is not configured for dual-stack services") {
		t.Errorf("got %v", err)
	}
	preferred := core.IPFamilyPolicyPreferDualStack
	s.Spec.IPFamilyPolicy = &preferred
	if err := w.create(s); err != nil || len(s.Spec.ClusterIPs) != 1 {
		t.Errorf("got %v, %v", s.Spec.ClusterIPs, err)
	}
}

func TestTheLowerBandIsLeftForWhoAsks(t *testing.T) {
	w := start(t, "10.1.0.0/24,fd00::/64", 30000, 30100)
	for range 50 {
		s := svc("", core.ServiceTypeClusterIP)
		s.GenerateName = "s-"
		policy := core.IPFamilyPolicyRequireDualStack
		s.Spec.IPFamilyPolicy = &policy
		if err := w.create(s); err != nil {
			t.Fatal(err)
		}
		if last := netip.MustParseAddr(s.Spec.ClusterIP).As4()[3]; last <= 16 {
			t.Errorf("got %s of the lower band", s.Spec.ClusterIP)
		}
	}
}

func TestEverythingThatAServiceHeldIsFreeOnceItIsDeleted(t *testing.T) {
	w := start(t, "10.1.0.0/24", 30000, 30100)
	lb := svc("lb", core.ServiceTypeLoadBalancer, core.ServicePort{Port: 80, Protocol: core.ProtocolTCP})
	lb.Spec.ExternalTrafficPolicy = core.ServiceExternalTrafficPolicyLocal
	if err := w.create(lb); err != nil || lb.Spec.HealthCheckNodePort == 0 || lb.Spec.Ports[0].NodePort == 0 {
		t.Fatalf("got %+v, %v", lb.Spec, err)
	}
	if got := w.claims(nodePorts); len(got) != 2 || len(w.claims(service.Addresses)) != 1 {
		t.Errorf("claimed: %v", got)
	}
	w.remove("lb")
	if got := append(w.claims(service.Addresses), w.claims(nodePorts)...); len(got) != 0 {
		t.Errorf("still claimed: %v", got)
	}
}

func TestAFailedWriteLeavesNoClaim(t *testing.T) {
	w := start(t, "10.1.0.0/24", 30000, 30100)
	for range 2 { // the second name is taken
		_ = w.create(svc("s", core.ServiceTypeNodePort))
	}
	bad := svc("bad", core.ServiceTypeNodePort)
	bad.Spec.SessionAffinity = "sometimes"
	if err := w.create(bad); err == nil {
		t.Fatal("an invalid Service was created")
	}
	if got := append(w.claims(service.Addresses), w.claims(nodePorts)...); len(got) != 2 {
		t.Errorf("claimed: %v, want one address and one port", got)
	}
}
