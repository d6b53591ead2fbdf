package admission

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// A webhook's Service is reached at a ready endpoint's own address and port.
func TestAServiceIsItsReadyEndpoint(t *testing.T) {
	t.Parallel()
	named := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "n", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}}
	}
	port, portName := int32(8443), "hook"
	ready, notReady := true, false
	objects, slices := store(), store()
	for _, name := range []string{"ready", "waiting", "bare"} {
		add(t, objects, &corev1.Service{ObjectMeta: named(name), Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.9", Ports: []corev1.ServicePort{{Name: portName, Port: 443}},
		}})
	}
	slice := func(name string, endpoints ...discoveryv1.Endpoint) {
		add(t, slices, &discoveryv1.EndpointSlice{ObjectMeta: named(name), AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
			Ports: []discoveryv1.EndpointPort{{Name: &portName, Port: &port}}})
	}
	slice("ready",
		discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &notReady}},
		discoveryv1.Endpoint{Addresses: []string{"10.0.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	slice("waiting", discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &notReady}})
	s := services{corelisters.NewServiceLister(objects), discoverylisters.NewEndpointSliceLister(slices)}
	for _, c := range []struct {
		name, service string
		port          int32
		want, err     string
	}{
		{"the one that is ready", "ready", 443, "https://10.0.0.2:8443", ""},
		{"a port that the Service does not have", "ready", 80, "", "no service port 80 found"},
		{"nobody is ready", "waiting", 443, "", "no endpoints available"},
		{"nobody is there", "bare", 443, "", "no endpoints available"},
		{"no such Service", "missing", 443, "", "not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u, err := s.ResolveEndpoint("n", c.service, c.port)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, %v, want %q", u, err, c.err)
				}
				return
			}
			if err != nil || u.String() != c.want {
				t.Errorf("got %v, %v, want %s", u, err, c.want)
			}
		})
	}
}

func store() cache.Indexer {
	return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
}

func add(t *testing.T, s cache.Store, obj any) {
	t.Helper()
	if err := s.Add(obj); err != nil {
		t.Fatal(err)
	}
}
