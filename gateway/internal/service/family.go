package service

import (
	"fmt"
	"net/netip"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	netutils "k8s.io/utils/net"
)

// families are those that the cluster has ranges for, the default first.
type families []core.IPFamily

func (f families) has(family core.IPFamily) bool { return slices.Contains(f, family) }

// init sets ipFamilyPolicy and ipFamilies as upstream does
// (pkg/registry/core/service/storage/alloc.go, initIPFamilyFields).
func (f families) init(svc, old *core.Service) error {
	if svc.Spec.Type == core.ServiceTypeExternalName || keepsPreferred(svc, old) {
		return nil
	}
	if svc.Spec.IPFamilyPolicy == nil {
		policy := core.IPFamilyPolicySingleStack
		switch {
		case old != nil && old.Spec.IPFamilyPolicy != nil:
			policy = *old.Spec.IPFamilyPolicy
		case headlessWithoutSelector(svc):
			policy = core.IPFamilyPolicyRequireDualStack
		}
		svc.Spec.IPFamilyPolicy = &policy
	}
	if errs := validation.ValidateServiceClusterIPsRelatedFields(svc, old); len(errs) > 0 {
		return invalidAll(svc, errs)
	}
	if errs := append(policyErrors(svc, old), f.infer(svc)...); len(errs) > 0 {
		return invalidAll(svc, errs)
	}
	if headlessWithoutSelector(svc) {
		f.ofHeadless(svc)
		return nil
	}
	if errs := f.missing(svc); len(errs) > 0 {
		return invalidAll(svc, errs)
	}
	if len(svc.Spec.IPFamilies) == 0 {
		svc.Spec.IPFamilies = []core.IPFamily{f[0]}
	}
	if *svc.Spec.IPFamilyPolicy != core.IPFamilyPolicySingleStack && len(svc.Spec.IPFamilies) == 1 && len(f) == 2 {
		svc.Spec.IPFamilies = append(svc.Spec.IPFamilies, other(svc.Spec.IPFamilies[0]))
	}
	return nil
}

// infer derives ipFamilies from clusterIPs.
func (f families) infer(svc *core.Service) (errs field.ErrorList) {
	for i, text := range svc.Spec.ClusterIPs {
		if text == core.ClusterIPNone {
			break
		}
		if i < len(svc.Spec.IPFamilies) {
			continue
		}
		family := core.IPFamily("unknown")
		if ip, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(text)); ok {
			family = familyOf(ip.Unmap())
		}
		if !f.has(family) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), svc.Spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", family)))
			continue
		}
		svc.Spec.IPFamilies = append(svc.Spec.IPFamilies, family)
	}
	return errs
}

// missing says what a Service wants that the cluster has not.
func (f families) missing(svc *core.Service) (errs field.ErrorList) {
	if *svc.Spec.IPFamilyPolicy == core.IPFamilyPolicyRequireDualStack && len(f) < 2 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), svc.Spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, family := range svc.Spec.IPFamilies {
		if !f.has(family) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	return errs
}

// ofHeadless: a headless Service without selector may name families that the
// cluster has not.
func (f families) ofHeadless(svc *core.Service) {
	if len(svc.Spec.IPFamilies) == 0 {
		svc.Spec.IPFamilies = []core.IPFamily{f[0]}
	}
	if len(svc.Spec.IPFamilies) < 2 && *svc.Spec.IPFamilyPolicy != core.IPFamilyPolicySingleStack {
		svc.Spec.IPFamilies = append(svc.Spec.IPFamilies, other(svc.Spec.IPFamilies[0]))
	}
}

func other(family core.IPFamily) core.IPFamily {
	if family == core.IPv4Protocol {
		return core.IPv6Protocol
	}
	return core.IPv4Protocol
}

func invalidAll(svc *core.Service, errs field.ErrorList) error {
	return apierrors.NewInvalid(core.Kind("Service"), svc.Name, errs)
}

// keepsPreferred: a PreferDualStack Service whose fields stay is left as it is,
// whatever families the cluster has meanwhile.
func keepsPreferred(svc, old *core.Service) bool {
	if old == nil || svc.Spec.IPFamilyPolicy == nil || *svc.Spec.IPFamilyPolicy != core.IPFamilyPolicyPreferDualStack || old.Spec.Type != svc.Spec.Type {
		return false
	}
	if old.Spec.IPFamilyPolicy != nil && *old.Spec.IPFamilyPolicy != core.IPFamilyPolicyPreferDualStack {
		return false
	}
	hasAddresses := svc.Spec.Type == core.ServiceTypeClusterIP || svc.Spec.Type == core.ServiceTypeNodePort || svc.Spec.Type == core.ServiceTypeLoadBalancer
	return hasAddresses && slices.Equal(old.Spec.ClusterIPs, svc.Spec.ClusterIPs) && slices.Equal(old.Spec.IPFamilies, svc.Spec.IPFamilies)
}

func headlessWithoutSelector(svc *core.Service) bool {
	return svc.Spec.ClusterIP == core.ClusterIPNone && len(svc.Spec.Selector) == 0
}

// policyErrors compares the policy with how many addresses and families there are.
func policyErrors(svc, old *core.Service) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec", "ipFamilyPolicy")
	single := *svc.Spec.IPFamilyPolicy == core.IPFamilyPolicySingleStack
	if old != nil && single {
		if slices.Equal(old.Spec.ClusterIPs, svc.Spec.ClusterIPs) && len(svc.Spec.ClusterIPs) > 1 {
			svc.Spec.ClusterIPs = svc.Spec.ClusterIPs[:1]
		}
		if slices.Equal(old.Spec.IPFamilies, svc.Spec.IPFamilies) && len(svc.Spec.IPFamilies) > 1 {
			svc.Spec.IPFamilies = svc.Spec.IPFamilies[:1]
		}
	}
	if old != nil && !single {
		if len(svc.Spec.ClusterIPs) != 0 && len(svc.Spec.ClusterIPs) < len(old.Spec.ClusterIPs) {
			errs = append(errs, field.Invalid(path, svc.Spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary cluster IP"))
		}
		if len(svc.Spec.IPFamilies) != 0 && len(svc.Spec.IPFamilies) < len(old.Spec.IPFamilies) {
			errs = append(errs, field.Invalid(path, svc.Spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary IP family"))
		}
	}
	if single && len(svc.Spec.ClusterIPs) == 2 {
		errs = append(errs, field.Invalid(path, svc.Spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"))
	}
	if single && len(svc.Spec.IPFamilies) == 2 {
		errs = append(errs, field.Invalid(path, svc.Spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"))
	}
	return errs
}

// keepAllocated fills in what was given out before and an update leaves out, so
// that the YAML of the creation can be sent again.
func keepAllocated(svc, old *core.Service) {
	if old.Spec.Type != core.ServiceTypeExternalName && svc.Spec.Type != core.ServiceTypeExternalName {
		if svc.Spec.ClusterIP == "" {
			svc.Spec.ClusterIP = old.Spec.ClusterIP
		}
		if len(svc.Spec.ClusterIPs) == 0 {
			svc.Spec.ClusterIPs = old.Spec.ClusterIPs
		}
	}
	if wantsNodePorts(old) && wantsNodePorts(svc) {
		keepNodePorts(svc, old)
	}
	health := func(s *core.Service) bool {
		return s.Spec.Type == core.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == core.ServiceExternalTrafficPolicyLocal
	}
	if health(old) && health(svc) && svc.Spec.HealthCheckNodePort == 0 {
		svc.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

func keepNodePorts(svc, old *core.Service) {
	inNew := map[int32]bool{}
	for i := range svc.Spec.Ports {
		inNew[svc.Spec.Ports[i].NodePort] = true
	}
	byName := map[string]int32{}
	for i := range old.Spec.Ports {
		byName[old.Spec.Ports[i].Name] = old.Spec.Ports[i].NodePort
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if port := byName[p.Name]; p.NodePort == 0 && port != 0 && !inNew[port] {
			p.NodePort = port
		}
	}
}

// alignClusterIPs derives clusterIPs from clusterIP where a client knows only the
// latter.
func alignClusterIPs(svc, old *core.Service) {
	if len(old.Spec.ClusterIPs) > 0 && len(svc.Spec.ClusterIPs) == 0 && old.Spec.ClusterIP == svc.Spec.ClusterIP {
		svc.Spec.ClusterIPs = old.Spec.ClusterIPs
	}
	if old.Spec.ClusterIP == svc.Spec.ClusterIP || !slices.Equal(old.Spec.ClusterIPs, svc.Spec.ClusterIPs) {
		return
	}
	if svc.Spec.ClusterIP == "" {
		svc.Spec.ClusterIPs = nil
		return
	}
	svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
}
