package aggregate

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	api "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

func TestWhatStandsInTheWayOfAService(t *testing.T) {
	t.Parallel()
	port, name, number, no := int32(443), "https", int32(8443), false
	ref := api.ServiceReference{Namespace: "metrics", Name: "server", Port: &port}
	service := func(kind corev1.ServiceType, port int32) *corev1.Service {
		return &corev1.Service{Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Name: name, Port: port}}}}
	}
	slice := func(portName string, ready *bool) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: ready}}},
			Ports:     []discoveryv1.EndpointPort{{Name: &portName, Port: &number}},
		}
	}
	for what, c := range map[string]struct {
		service *corev1.Service
		slices  []*discoveryv1.EndpointSlice
		reason  string
		message string
	}{
		"no Service":                           {nil, nil, "ServiceNotFound", `service/server in "metrics" is not present`},
		"another port":                         {service(corev1.ServiceTypeClusterIP, 80), nil, "ServicePortError", `service/server in "metrics" is not listening on port 443`},
		"no slices":                            {service(corev1.ServiceTypeClusterIP, 443), nil, "EndpointsNotFound", `cannot find endpointslices for service/server in "metrics"`},
		"none ready":                           {service(corev1.ServiceTypeClusterIP, 443), []*discoveryv1.EndpointSlice{slice(name, &no)}, "MissingEndpoints", `endpointslices for service/server in "metrics" have no addresses with port name "https"`},
		"another port's endpoints":             {service(corev1.ServiceTypeClusterIP, 443), []*discoveryv1.EndpointSlice{slice("http", nil)}, "MissingEndpoints", `endpointslices for service/server in "metrics" have no addresses with port name "https"`},
		"one of several slices is ready":       {service(corev1.ServiceTypeClusterIP, 443), []*discoveryv1.EndpointSlice{slice(name, &no), slice(name, nil)}, "", ""},
		"what is no ClusterIP is only asked":   {service(corev1.ServiceTypeExternalName, 80), nil, "", ""},
		"readiness that nobody said is enough": {service(corev1.ServiceTypeClusterIP, 443), []*discoveryv1.EndpointSlice{slice(name, nil)}, "", ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			got := judge(ref, c.service, c.slices)
			if c.reason == "" {
				if got != nil {
					t.Errorf("got %+v, want nothing in the way", got)
				}
				return
			}
			if got == nil || got.Status != api.ConditionFalse || got.Reason != c.reason || got.Message != c.message {
				t.Errorf("got %+v, want %s: %s", got, c.reason, c.message)
			}
		})
	}
}

func TestWhichRegistrationsAreMadeAndRemoved(t *testing.T) {
	t.Parallel()
	gv := func(group, version string) schema.GroupVersion {
		return schema.GroupVersion{Group: group, Version: version}
	}
	create, remove := registrations(
		[]schema.GroupVersion{gv("a.example", "v1"), gv("b.example", "v1"), gv("c.example", "v1")},
		map[string]bool{"v1.a.example": true, "v1.c.example": false, "v1.gone.example": true, "v1.somebodys.example": false})
	if len(create) != 1 || create[0] != gv("b.example", "v1") {
		t.Errorf("created %v, want only what is missing", create)
	}
	if !slices.Equal(remove, []string{"v1.gone.example"}) {
		t.Errorf("removed %v, want only ours that nothing is served of", remove)
	}
}
