package aggregate

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	api "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// judge says what stands in the way of an APIService's Service before anybody asks
// it; nil when nothing does. service is nil when there is none. Words and reasons
// are upstream's.
func judge(ref api.ServiceReference, service *corev1.Service, slicesOf []*discoveryv1.EndpointSlice) *api.APIServiceCondition {
	if service == nil {
		return unavailable("ServiceNotFound", "service/%s in %q is not present", ref.Name, ref.Namespace)
	}
	if service.Spec.Type != corev1.ServiceTypeClusterIP {
		return nil
	}
	i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == *ref.Port })
	if i < 0 {
		return unavailable("ServicePortError", "service/%s in %q is not listening on port %d", ref.Name, ref.Namespace, *ref.Port)
	}
	name := service.Spec.Ports[i].Name
	if len(slicesOf) == 0 {
		return unavailable("EndpointsNotFound", "cannot find endpointslices for service/%s in %q", ref.Name, ref.Namespace)
	}
	if !slices.ContainsFunc(slicesOf, func(s *discoveryv1.EndpointSlice) bool { return ready(s, name) }) {
		return unavailable("MissingEndpoints", "endpointslices for service/%s in %q have no addresses with port name %q", ref.Name, ref.Namespace, name)
	}
	return nil
}

// ready says whether a slice has a ready endpoint with a port of that name.
func ready(s *discoveryv1.EndpointSlice, port string) bool {
	return slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }) &&
		slices.ContainsFunc(s.Ports, func(p discoveryv1.EndpointPort) bool { return p.Name != nil && *p.Name == port && p.Port != nil })
}

func unavailable(reason, format string, args ...any) *api.APIServiceCondition {
	return &api.APIServiceCondition{Type: api.Available, Status: api.ConditionFalse, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func passed() *api.APIServiceCondition {
	return &api.APIServiceCondition{Type: api.Available, Status: api.ConditionTrue, Reason: "Passed", Message: "all checks passed"}
}
