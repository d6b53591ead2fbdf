//lint:file-ignore SA1019 Endpoints are deprecated, and kept for those who still write them.

package endpoint

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	mirrorManager = "endpointslicemirroring-controller.k8s.io"
	mirrorMost    = 1000 // addresses of one set of ports, as upstream
	leaderRecord  = "control-plane.alpha.kubernetes.io/leader"
)

var endpointsKind = corev1.SchemeGroupVersion.WithKind("Endpoints")

// skipped is what could not be mirrored.
type skipped struct {
	invalid int // addresses that are none
	tooMany int // addresses beyond mirrorMost
}

// mirrored is true for Endpoints that a user keeps for a service without a
// selector; others have slices of their own, or want none.
func mirrored(service *corev1.Service, endpoints *corev1.Endpoints) bool {
	if service == nil || endpoints == nil || service.Spec.Selector != nil {
		return false
	}
	_, leader := endpoints.Annotations[leaderRecord]
	return !leader && endpoints.Labels[discoveryv1.LabelSkipMirror] != "true" && endpoints.DeletionTimestamp == nil
}

// planMirror compares the mirrored slices that exist with what Endpoints say: one
// slice for each set of ports and address type. endpoints are nil where nothing is
// to be mirrored.
func planMirror(endpoints *corev1.Endpoints, existing []*discoveryv1.EndpointSlice) (slicePlan, skipped) {
	var plan slicePlan
	if endpoints == nil {
		plan.Delete = existing
		return plan, skipped{}
	}
	wanted, skip := mirrors(endpoints)
	for _, slice := range existing {
		i := slices.IndexFunc(wanted, func(want *discoveryv1.EndpointSlice) bool {
			return want.Name == "" && want.AddressType == slice.AddressType && portsKey(want.Ports) == portsKey(slice.Ports)
		})
		if i < 0 {
			plan.Delete = append(plan.Delete, slice)
			continue
		}
		want := wanted[i]
		want.Name, want.GenerateName = slice.Name, slice.GenerateName
		if !sameMirror(want, slice) {
			want.UID, want.ResourceVersion = slice.UID, slice.ResourceVersion
			plan.Update = append(plan.Update, want)
		}
	}
	for _, want := range wanted {
		if want.Name != "" {
			continue
		}
		if n := len(plan.Delete); n > 0 { // an update instead of a deletion and a creation
			gone := plan.Delete[n-1]
			plan.Delete = plan.Delete[:n-1]
			if gone.AddressType == want.AddressType { // which never changes
				want.Name, want.GenerateName, want.UID, want.ResourceVersion = gone.Name, gone.GenerateName, gone.UID, gone.ResourceVersion
				plan.Update = append(plan.Update, want)
				continue
			}
			plan.Delete = append(plan.Delete, gone)
		}
		plan.Create = append(plan.Create, want)
	}
	return plan, skip
}

// mirrors are the slices that show Endpoints, in the order of their subsets.
func mirrors(endpoints *corev1.Endpoints) (wanted []*discoveryv1.EndpointSlice, skip skipped) {
	type key struct {
		ports  string
		family discoveryv1.AddressType
	}
	found := map[key]*discoveryv1.EndpointSlice{}
	seen := map[key]map[string]bool{}
	add := func(ports []discoveryv1.EndpointPort, address *corev1.EndpointAddress, ready bool) {
		endpoint, family, ok := mirroredEndpoint(address, ready)
		if !ok {
			skip.invalid++
			return
		}
		k := key{portsKey(ports), family}
		slice := found[k]
		if slice == nil {
			slice = newMirror(endpoints, ports, family)
			found[k], seen[k] = slice, map[string]bool{}
			wanted = append(wanted, slice)
		}
		switch id := endpointKey(&endpoint); {
		case seen[k][id]:
		case len(slice.Endpoints) >= mirrorMost:
			skip.tooMany++
		default:
			seen[k][id] = true
			slice.Endpoints = append(slice.Endpoints, endpoint)
		}
	}
	for i := range endpoints.Subsets {
		subset := &endpoints.Subsets[i]
		ports := mirroredPorts(subset.Ports)
		for j := range subset.NotReadyAddresses { // what is not ready somewhere counts as not ready
			add(ports, &subset.NotReadyAddresses[j], false)
		}
		for j := range subset.Addresses {
			add(ports, &subset.Addresses[j], true)
		}
	}
	return wanted, skip
}

func mirroredEndpoint(address *corev1.EndpointAddress, ready bool) (discoveryv1.Endpoint, discoveryv1.AddressType, bool) {
	ip, err := netip.ParseAddr(address.IP)
	if err != nil {
		return discoveryv1.Endpoint{}, "", false
	}
	family := discoveryv1.AddressTypeIPv4
	if ip = ip.Unmap(); ip.Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	endpoint := discoveryv1.Endpoint{
		Addresses: []string{ip.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		TargetRef: address.TargetRef, NodeName: address.NodeName,
	}
	if address.Hostname != "" {
		endpoint.Hostname = &address.Hostname
	}
	return endpoint, family, true
}

func mirroredPorts(ports []corev1.EndpointPort) []discoveryv1.EndpointPort {
	out := make([]discoveryv1.EndpointPort, 0, len(ports))
	for i := range ports {
		port := ports[i]
		out = append(out, discoveryv1.EndpointPort{Name: &port.Name, Port: &port.Port, Protocol: &port.Protocol, AppProtocol: port.AppProtocol})
	}
	return out
}

func newMirror(endpoints *corev1.Endpoints, ports []discoveryv1.EndpointPort, family discoveryv1.AddressType) *discoveryv1.EndpointSlice {
	prefix := endpoints.Name + "-"
	if len(validation.NameIsDNSSubdomain(prefix, true)) != 0 {
		prefix = endpoints.Name
	}
	labels, annotations := map[string]string{}, map[string]string{}
	maps.Copy(labels, endpoints.Labels)
	maps.Copy(annotations, endpoints.Annotations)
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = endpoints.Name, mirrorManager
	delete(annotations, corev1.EndpointsLastChangeTriggerTime)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: prefix, Namespace: endpoints.Namespace, Labels: labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(endpoints, endpointsKind)},
		},
		AddressType: family, Ports: ports, Endpoints: []discoveryv1.Endpoint{},
	}
}

func sameMirror(a, b *discoveryv1.EndpointSlice) bool {
	return equality.Semantic.DeepEqual(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.Annotations, b.Annotations) &&
		equality.Semantic.DeepEqual(a.OwnerReferences, b.OwnerReferences) && equality.Semantic.DeepEqual(a.Endpoints, b.Endpoints)
}
