// Package endpoint publishes which pods serve a Service: as EndpointSlices (Slices)
// and in the older form of Endpoints (Legacy). Both decide with pure functions and
// write only what differs; semantics are those of upstream's endpointslice and
// endpoint controllers.
//
// A pod's endpoint:
//
//	(no address) --> not ready --Ready, or publishNotReadyAddresses--> ready
//	     deleted: serving while it is Ready --> terminating --> gone with the pod
//
// Promises: an address is ready in a slice only when its pod is; a slice has at most
// 100 endpoints of one family, and a change writes only the slices that it is in; a
// Service without a selector is left to who made it, but for the mirror of its Endpoints.
package endpoint

import (
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	netutils "k8s.io/utils/net"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
)

// selects is true for services whose endpoints are made here.
func selects(service *corev1.Service) bool {
	return service.Spec.Type != corev1.ServiceTypeExternalName && service.Spec.Selector != nil
}

func matches(service *corev1.Service, p *corev1.Pod) bool {
	return selects(service) && labels.Set(service.Spec.Selector).AsSelectorPreValidated().Matches(labels.Set(p.Labels))
}

// selected are the pods a service selects, ordered by name so that equal worlds give
// equal plans.
func selected(world *mirror.World, service *corev1.Service) []*corev1.Pod {
	selector := labels.Set(service.Spec.Selector).AsSelectorPreValidated()
	var found []*corev1.Pod
	for _, p := range world.Pods.List(service.Namespace) {
		if selector.Matches(labels.Set(p.Labels)) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *corev1.Pod) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
	return found
}

// listed pods have an address and have not finished.
func listed(p *corev1.Pod, terminating bool) bool {
	return !pod.Terminal(p) && (p.Status.PodIP != "" || len(p.Status.PodIPs) > 0) && (terminating || p.DeletionTimestamp == nil)
}

// addresses are the pod's addresses of a family, in canonical form.
func addresses(p *corev1.Pod, ipv6 bool) []string {
	var found []string
	for _, podIP := range p.Status.PodIPs {
		ip := netutils.ParseIPSloppy(podIP.IP)
		if ip != nil && isIPv6(ip) == ipv6 {
			found = append(found, ip.String())
		}
	}
	return found
}

func isIPv6(ip net.IP) bool { return netutils.IsIPv6(ip) }

// hostname is what a headless service's DNS calls the pod; empty for none.
func hostname(p *corev1.Pod, service *corev1.Service) string {
	if p.Spec.Hostname != "" && p.Spec.Subdomain == service.Name && service.Namespace == p.Namespace {
		return p.Spec.Hostname
	}
	return ""
}

// targetPort finds the port of a pod that a service's port leads to.
func targetPort(p *corev1.Pod, port *corev1.ServicePort) (int32, bool) {
	if port.TargetPort.Type == intstr.Int {
		return port.TargetPort.IntVal, true
	}
	named := func(container *corev1.Container) (int32, bool) {
		for i := range container.Ports {
			if c := &container.Ports[i]; c.Name == port.TargetPort.StrVal && c.Protocol == port.Protocol {
				return c.ContainerPort, true
			}
		}
		return 0, false
	}
	for i := range p.Spec.Containers {
		if number, ok := named(&p.Spec.Containers[i]); ok {
			return number, true
		}
	}
	for i := range p.Spec.InitContainers {
		container := &p.Spec.InitContainers[i]
		if container.RestartPolicy == nil || *container.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		if number, ok := named(container); ok {
			return number, true
		}
	}
	return 0, false
}

func headless(service *corev1.Service) bool {
	return service.Spec.ClusterIP == corev1.ClusterIPNone || service.Spec.ClusterIP == ""
}

// members wakes each service that a change of itself, of pods or of nodes may concern.
func members(world *mirror.World) frame.Trigger[types.NamespacedName] {
	return frame.All(
		frame.On(world.Services, frame.Self),
		frame.On(world.Pods, func(old, new *corev1.Pod, add func(types.NamespacedName)) {
			if old == nil || new == nil || concerns(old, new) {
				wakeOf(world, add, old, new)
			}
		}),
		frame.On(world.Nodes, func(old, new *corev1.Node, add func(types.NamespacedName)) {
			if new == nil || old != nil && old.Labels[corev1.LabelTopologyZone] == new.Labels[corev1.LabelTopologyZone] {
				return
			}
			for _, p := range world.Pods.ByIndex(mirror.ByNode, new.Name) {
				wakeOf(world, add, p, nil)
			}
		}),
	)
}

func wakeOf(world *mirror.World, wake func(types.NamespacedName), old, new *corev1.Pod) {
	some := new
	if some == nil {
		some = old
	}
	for _, service := range world.Services.List(some.Namespace) {
		if old != nil && matches(service, old) || new != nil && matches(service, new) {
			wake(types.NamespacedName{Namespace: service.Namespace, Name: service.Name})
		}
	}
}

// concerns is true when a change of a pod may change endpoints.
func concerns(old, new *corev1.Pod) bool {
	return old.UID != new.UID || pod.Terminal(old) != pod.Terminal(new) ||
		(old.DeletionTimestamp == nil) != (new.DeletionTimestamp == nil) ||
		pod.Ready(old) != pod.Ready(new) ||
		old.Spec.NodeName != new.Spec.NodeName || old.Spec.Hostname != new.Spec.Hostname || old.Spec.Subdomain != new.Spec.Subdomain ||
		!slices.EqualFunc(old.Status.PodIPs, new.Status.PodIPs, func(a, b corev1.PodIP) bool { return a.IP == b.IP }) ||
		!equality.Semantic.DeepEqual(old.Labels, new.Labels)
}

// families are the address types a service has slices of.
func families(service *corev1.Service) []discoveryv1.AddressType {
	var found []discoveryv1.AddressType
	for _, family := range service.Spec.IPFamilies {
		switch family {
		case corev1.IPv4Protocol:
			found = append(found, discoveryv1.AddressTypeIPv4)
		case corev1.IPv6Protocol:
			found = append(found, discoveryv1.AddressTypeIPv6)
		}
	}
	switch {
	case len(found) > 0:
		return found
	case headless(service):
		return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}
	case netutils.IsIPv6String(service.Spec.ClusterIP):
		return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv6}
	}
	return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4}
}
