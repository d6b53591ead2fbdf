package service

import (
	"fmt"
	"net/netip"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	netutils "k8s.io/utils/net"
)

// newAddresses gives an address of each of its families to a Service that has none,
// or takes those that it asks for.
func (h *Hooks) newAddresses(svc *core.Service, d *draft) error {
	if svc.Spec.Type == core.ServiceTypeExternalName || headless(svc) {
		return nil
	}
	for i, family := range svc.Spec.IPFamilies {
		if i == len(svc.Spec.ClusterIPs) {
			svc.Spec.ClusterIPs = append(svc.Spec.ClusterIPs, "")
		}
		ip, err := h.address(svc, d, family, svc.Spec.ClusterIPs[i])
		if err != nil {
			return err
		}
		svc.Spec.ClusterIPs[i] = ip
		if i == 0 {
			svc.Spec.ClusterIP = ip
		}
	}
	return nil
}

func headless(svc *core.Service) bool {
	return len(svc.Spec.ClusterIPs) > 0 && svc.Spec.ClusterIPs[0] == core.ClusterIPNone
}

// changedAddresses gives what an update asks for: all when an external name becomes
// something else, the second one when a second family was added.
func (h *Hooks) changedAddresses(svc, old *core.Service, d *draft) error {
	if keepsPreferred(svc, old) {
		return nil
	}
	if old.Spec.Type == core.ServiceTypeExternalName && svc.Spec.Type != core.ServiceTypeExternalName {
		return h.newAddresses(svc, d)
	}
	if headless(old) || svc.Spec.Type == core.ServiceTypeExternalName || len(old.Spec.IPFamilies) != 1 || len(svc.Spec.IPFamilies) != 2 {
		return nil
	}
	if len(svc.Spec.ClusterIPs) < 2 {
		svc.Spec.ClusterIPs = append(svc.Spec.ClusterIPs, "")
	}
	ip, err := h.address(svc, d, svc.Spec.IPFamilies[1], svc.Spec.ClusterIPs[1])
	if err != nil {
		return err
	}
	svc.Spec.ClusterIPs[1] = ip
	return nil
}

// address takes the address that text says, or any of the family.
func (h *Hooks) address(svc *core.Service, d *draft, family core.IPFamily, text string) (string, error) {
	if text == "" {
		for _, b := range h.blocks.ready(family) {
			if ip, ok := h.pool.anyAddress(b); ok {
				d.keys = append(d.keys, addressKey(ip))
				return ip.String(), nil
			}
		}
		d.doubt = true
		return "", apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", svc.Name, errFull))
	}
	ip, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(text))
	if !ok {
		return "", apierrors.NewInternalError(fmt.Errorf("failed to parse service IP %q", text))
	}
	if err := h.thisAddress(d, ip.Unmap()); err != nil {
		return "", invalid(svc, field.NewPath("spec", "clusterIPs"), svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %v: %v", text, err))
	}
	return text, nil
}

func (h *Hooks) thisAddress(d *draft, ip netip.Addr) error {
	if !h.blocks.contain(ip) {
		d.doubt = true
		return errNoRange
	}
	if !d.take(addressKey(ip)) {
		return errIPAllocated
	}
	return nil
}
