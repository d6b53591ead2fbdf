package servicecidr

import (
	"net/netip"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// finalizer keeps a range while Services have its addresses.
	finalizer = "networking.k8s.io/service-cidr-finalizer"
	// allocator marks the IPAddresses of Services.
	allocator = "ipallocator.k8s.io"
	// grace is how long a range that nobody needs is kept, so that who gives out
	// addresses has heard that it goes.
	grace = 10 * time.Second
)

// step is what a range needs next.
type step struct {
	Protect   bool              // the finalizer is to be put
	Release   bool              // or to be taken away
	Condition *metav1.Condition // to be written; nil: it says so already
	Again     time.Duration
}

// plan judges one range among all of the cluster; addresses are all IPAddresses, and
// are asked for only when the range is to go.
func plan(cidr *networkingv1.ServiceCIDR, all []*networkingv1.ServiceCIDR, addresses func() []*networkingv1.IPAddress, now time.Time) step {
	held := slices.Contains(cidr.Finalizers, finalizer)
	if cidr.DeletionTimestamp == nil {
		return step{Protect: !held, Condition: fresh(cidr, metav1.Condition{
			Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready",
		})}
	}
	if !covered(cidr, all) && needed(cidr, all, addresses()) {
		return step{Condition: fresh(cidr, metav1.Condition{
			Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionFalse, Reason: networkingv1.ServiceCIDRReasonTerminating,
			Message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
		})}
	}
	if left := cidr.DeletionTimestamp.Add(grace).Sub(now); left > 0 {
		return step{Again: left}
	}
	return step{Release: held}
}

// fresh is the condition where the range does not have it.
func fresh(cidr *networkingv1.ServiceCIDR, want metav1.Condition) *metav1.Condition {
	has := apimeta.FindStatusCondition(cidr.Status.Conditions, want.Type)
	if has != nil && has.Status == want.Status && has.Reason == want.Reason && has.Message == want.Message {
		return nil
	}
	return &want
}

// covered is true when each prefix lies in one of another range.
func covered(cidr *networkingv1.ServiceCIDR, all []*networkingv1.ServiceCIDR) bool {
	for _, prefix := range prefixes(cidr) {
		if !slices.ContainsFunc(all, func(other *networkingv1.ServiceCIDR) bool {
			return other.Name != cidr.Name && slices.ContainsFunc(prefixes(other), func(p netip.Prefix) bool {
				return p.Bits() <= prefix.Bits() && p.Overlaps(prefix)
			})
		}) {
			return false
		}
	}
	return true
}

// needed is true when an address of a Service is in no other range.
func needed(cidr *networkingv1.ServiceCIDR, all []*networkingv1.ServiceCIDR, addresses []*networkingv1.IPAddress) bool {
	for _, address := range addresses {
		ip, ok := ofService(address)
		if !ok || !contains(cidr, ip) {
			continue
		}
		if !slices.ContainsFunc(all, func(other *networkingv1.ServiceCIDR) bool { return other.Name != cidr.Name && contains(other, ip) }) {
			return true
		}
	}
	return false
}

// ofService reads an address that was given to a Service.
func ofService(address *networkingv1.IPAddress) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(address.Name)
	return ip, err == nil && address.Labels[networkingv1.LabelManagedBy] == allocator
}

// contains is true of addresses that a range gives out: not its first, and of IPv4 not
// its last.
func contains(cidr *networkingv1.ServiceCIDR, ip netip.Addr) bool {
	return slices.ContainsFunc(prefixes(cidr), func(p netip.Prefix) bool {
		if !p.Contains(ip) || p.Masked().Addr() == ip {
			return false
		}
		return !ip.Is4() || p.Contains(ip.Next())
	})
}

func prefixes(cidr *networkingv1.ServiceCIDR) (all []netip.Prefix) {
	for _, text := range cidr.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			all = append(all, p)
		}
	}
	return all
}
