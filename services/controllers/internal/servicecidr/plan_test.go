package servicecidr

import (
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func newRange(name, cidrs string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{finalizer}}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: strings.Fields(cidrs)}}
}

func newAddresses(names ...string) func() []*networkingv1.IPAddress {
	return func() (all []*networkingv1.IPAddress) {
		for _, name := range names {
			managed := allocator
			if rest, ok := strings.CutPrefix(name, "foreign:"); ok {
				name, managed = rest, "example.com"
			}
			all = append(all, &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{networkingv1.LabelManagedBy: managed}}})
		}
		return all
	}
}

func TestARangeIsProtectedAndReady(t *testing.T) {
	t.Parallel()
	cidr := newRange("a", "10.0.0.0/24")
	cidr.Finalizers = nil
	next := plan(cidr, nil, nil, noon)
	if !next.Protect || next.Release || next.Condition == nil || next.Condition.Status != metav1.ConditionTrue || next.Condition.Message != "Kubernetes Service CIDR is ready" {
		t.Fatalf("made: got %+v", next)
	}
	cidr.Finalizers, cidr.Status.Conditions = []string{finalizer}, []metav1.Condition{*next.Condition}
	if next := plan(cidr, nil, nil, noon); next != (step{}) {
		t.Errorf("when all is done: got %+v", next)
	}
}

func TestARangeGoesWhenNoAddressNeedsIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		cidrs     string
		others    map[string]string
		addresses []string
		waits     bool
	}{
		{"without addresses", "10.0.0.0/24", nil, nil, false},
		{"with addresses of others", "10.0.0.0/24", nil, []string{"10.0.1.1", "foreign:10.0.0.7"}, false},
		{"an address holds it", "10.0.0.0/24", nil, []string{"10.0.0.7"}, true},
		{"its first and last address are no Service's", "10.0.0.0/24", nil, []string{"10.0.0.0", "10.0.0.255"}, false},
		{"of IPv6 the last one is", "fd00::/112", nil, []string{"fd00::ffff"}, true},
		{"a larger range takes over", "10.0.0.0/24", map[string]string{"b": "10.0.0.0/16"}, []string{"10.0.0.7"}, false},
		{"so does the same one", "10.0.0.0/24", map[string]string{"b": "10.0.0.0/24"}, []string{"10.0.0.7"}, false},
		{"a smaller one takes over its own", "10.0.0.0/24", map[string]string{"b": "10.0.0.0/25"}, []string{"10.0.0.7"}, false},
		{"and no more", "10.0.0.0/24", map[string]string{"b": "10.0.0.0/25"}, []string{"10.0.0.7", "10.0.0.200"}, true},
		{"each family needs somebody", "10.0.0.0/24 fd00::/112", map[string]string{"b": "10.0.0.0/16"}, []string{"10.0.0.7", "fd00::7"}, true},
	} {
		cidr := newRange("a", c.cidrs)
		all := []*networkingv1.ServiceCIDR{cidr}
		for name, cidrs := range c.others {
			all = append(all, newRange(name, cidrs))
		}
		deleted := metav1.NewTime(noon)
		cidr.DeletionTimestamp = &deleted
		next := plan(cidr, all, newAddresses(c.addresses...), noon.Add(4*time.Second))
		late := plan(cidr, all, newAddresses(c.addresses...), noon.Add(time.Minute))
		if c.waits {
			if next.Condition == nil || next.Condition.Reason != networkingv1.ServiceCIDRReasonTerminating || late.Release || next.Again != 0 {
				t.Errorf("%s: got %+v, then %+v, want it to wait", c.name, next, late)
			}
			continue
		}
		if next.Condition != nil || next.Release || next.Again != 6*time.Second || !late.Release {
			t.Errorf("%s: got %+v, then %+v, want it to go after 10 s", c.name, next, late)
		}
	}
}
