//lint:file-ignore SA1019 Endpoints are deprecated, and kept for those who still read them.

package endpoint

import (
	"fmt"
	"math"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	netutils "k8s.io/utils/net"

	"kubus.dev/services/controllers/internal/pod"
)

const (
	legacyManagedBy = "endpoints.kubernetes.io/managed-by"
	legacyManager   = "endpoint-controller"
	legacyCapacity  = 1000 // addresses an Endpoints object holds; the rest is left out
	truncated       = "truncated"
)

// subsets groups a service's pods by ready ports, in canonical order.
func subsets(service *corev1.Service, pods []*corev1.Pod) []corev1.EndpointSubset {
	// For each port, which addresses serve it and whether they are ready.
	type offer struct {
		port  corev1.EndpointPort
		ready map[string]bool
	}
	offers := map[string]*offer{}
	known := map[string]corev1.EndpointAddress{}
	add := func(port corev1.EndpointPort, address corev1.EndpointAddress, ready bool) {
		key := fmt.Sprintf("%q %s %d %q", port.Name, port.Protocol, port.Port, value(port.AppProtocol))
		if offers[key] == nil {
			offers[key] = &offer{port, map[string]bool{}}
		}
		id := address.IP + " " + string(address.TargetRef.UID)
		known[id] = address
		if before, found := offers[key].ready[id]; !found || before {
			offers[key].ready[id] = ready
		}
	}
	for _, p := range pods {
		if !listed(p, service.Spec.PublishNotReadyAddresses) {
			continue
		}
		address, ok := addressOf(service, p)
		if !ok {
			continue
		}
		ready := service.Spec.PublishNotReadyAddresses || pod.Ready(p)
		if len(service.Spec.Ports) == 0 && service.Spec.ClusterIP == corev1.ClusterIPNone {
			add(corev1.EndpointPort{Port: -1}, address, ready)
		}
		for i := range service.Spec.Ports {
			port := &service.Spec.Ports[i]
			if number, found := targetPort(p, port); found {
				add(corev1.EndpointPort{Name: port.Name, Port: number, Protocol: port.Protocol, AppProtocol: port.AppProtocol}, address, ready)
			}
		}
	}
	// Ports with the same addresses share a subset.
	type shared struct {
		ready map[string]bool
		ports []corev1.EndpointPort
	}
	groups := map[string]*shared{}
	for _, o := range offers {
		ids := make([]string, 0, len(o.ready))
		for id := range o.ready {
			ids = append(ids, fmt.Sprint(id, o.ready[id]))
		}
		sort.Strings(ids)
		key := strings.Join(ids, ",")
		if groups[key] == nil {
			groups[key] = &shared{ready: o.ready}
		}
		if o.port.Port > 0 {
			groups[key].ports = append(groups[key].ports, o.port)
		}
	}
	result := []corev1.EndpointSubset{}
	for _, g := range groups {
		subset := corev1.EndpointSubset{Ports: g.ports}
		for id, ready := range g.ready {
			if ready {
				subset.Addresses = append(subset.Addresses, known[id])
			} else {
				subset.NotReadyAddresses = append(subset.NotReadyAddresses, known[id])
			}
		}
		result = append(result, subset)
	}
	return order(result)
}

// order sorts subsets so that equal ones compare equal.
func order(all []corev1.EndpointSubset) []corev1.EndpointSubset {
	byAddress := func(list []corev1.EndpointAddress) {
		sort.Slice(list, func(i, j int) bool { return addressKey(&list[i]) < addressKey(&list[j]) })
	}
	for i := range all {
		byAddress(all[i].Addresses)
		byAddress(all[i].NotReadyAddresses)
		ports := all[i].Ports
		sort.Slice(ports, func(a, b int) bool { return portKey(&ports[a]) < portKey(&ports[b]) })
	}
	sort.Slice(all, func(i, j int) bool { return subsetKey(&all[i]) < subsetKey(&all[j]) })
	return all
}

func addressKey(a *corev1.EndpointAddress) string {
	if a.TargetRef == nil {
		return a.IP
	}
	return a.IP + " " + string(a.TargetRef.UID)
}

func portKey(p *corev1.EndpointPort) string {
	return fmt.Sprintf("%s %s %05d %s", p.Name, p.Protocol, p.Port, value(p.AppProtocol))
}

func subsetKey(s *corev1.EndpointSubset) string {
	var b strings.Builder
	for i := range s.Ports {
		b.WriteString(portKey(&s.Ports[i]) + ",")
	}
	for i := range s.Addresses {
		b.WriteString(addressKey(&s.Addresses[i]) + ",")
	}
	b.WriteString("|")
	for i := range s.NotReadyAddresses {
		b.WriteString(addressKey(&s.NotReadyAddresses[i]) + ",")
	}
	return b.String()
}

// addressOf is the pod's address of the service's first family.
func addressOf(service *corev1.Service, p *corev1.Pod) (corev1.EndpointAddress, bool) {
	ipv6 := false
	switch {
	case len(service.Spec.IPFamilies) > 0:
		ipv6 = service.Spec.IPFamilies[0] == corev1.IPv6Protocol
	case !headless(service):
		ipv6 = netutils.IsIPv6String(service.Spec.ClusterIP)
	default:
		ipv6 = netutils.IsIPv6String(p.Status.PodIP)
	}
	found := addresses(p, ipv6)
	if len(found) == 0 {
		return corev1.EndpointAddress{}, false
	}
	node := p.Spec.NodeName
	return corev1.EndpointAddress{
		IP: found[0], NodeName: &node, Hostname: hostname(p, service),
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
	}, true
}

// upToDate compares an Endpoints object with what it should say.
func upToDate(present *corev1.Endpoints, wanted []corev1.EndpointSubset, service *corev1.Service) bool {
	_, over := present.Annotations[corev1.EndpointsOverCapacity]
	return !over && count(wanted) <= legacyCapacity && legacyLabelsCorrect(present.Labels, service.Labels) &&
		equality.Semantic.DeepEqual(normal(present.Subsets), normal(wanted))
}

func normal(all []corev1.EndpointSubset) []corev1.EndpointSubset {
	copied := (&corev1.Endpoints{Subsets: all}).DeepCopy().Subsets
	for i := range copied {
		for _, list := range [][]corev1.EndpointAddress{copied[i].Addresses, copied[i].NotReadyAddresses} {
			for j := range list {
				if list[j].TargetRef != nil {
					list[j].TargetRef.ResourceVersion = ""
				}
			}
		}
	}
	return order(copied)
}

func count(all []corev1.EndpointSubset) int {
	total := 0
	for i := range all {
		total += len(all[i].Addresses) + len(all[i].NotReadyAddresses)
	}
	return total
}

func legacyLabelsCorrect(present, service map[string]string) bool {
	if present[legacyManagedBy] != legacyManager {
		return false
	}
	own := 0
	for key, has := range present {
		if key == corev1.IsHeadlessService || key == legacyManagedBy {
			own++
			continue
		}
		if wanted, found := service[key]; !found || wanted != has {
			return false
		}
	}
	return len(service) == len(present)-own
}

func legacyLabels(service *corev1.Service) map[string]string {
	labels := map[string]string{}
	for key, value := range service.Labels {
		labels[key] = value
	}
	delete(labels, corev1.IsHeadlessService)
	if headless(service) {
		labels[corev1.IsHeadlessService] = ""
	}
	labels[legacyManagedBy] = legacyManager
	return labels
}

// truncate cuts subsets to the capacity, in proportion, those not ready first. It
// is true when something was cut.
func truncate(all []corev1.EndpointSubset) bool {
	ready, waiting := 0, 0
	for i := range all {
		ready += len(all[i].Addresses)
		waiting += len(all[i].NotReadyAddresses)
	}
	if ready+waiting <= legacyCapacity {
		return false
	}
	cutReady := ready > legacyCapacity
	room, total := legacyCapacity-ready, waiting
	if cutReady {
		room, total = legacyCapacity, ready
	}
	left := room
	for i := range all {
		list := &all[i].NotReadyAddresses
		if cutReady {
			all[i].NotReadyAddresses = nil
			list = &all[i].Addresses
		}
		n := min(left, int(math.Ceil(float64(len(*list))/float64(total)*float64(room))), len(*list))
		*list = (*list)[:n]
		left -= n
	}
	return true
}
