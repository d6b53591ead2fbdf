package admission

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/util/webhook"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

func TestWhereAServiceIsReached(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	port, portName := int32(listener.Addr().(*net.TCPAddr).Port), "hook"
	named := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "n", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}}
	}
	objects, slices := store(), store()
	for _, name := range []string{"elsewhere", "pods", "waiting"} {
		add(t, objects, &corev1.Service{ObjectMeta: named(name), Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.9", Ports: []corev1.ServicePort{{Name: portName, Port: 443}},
		}})
	}
	slice := func(name string, ready bool, pod *corev1.ObjectReference) {
		add(t, slices, &discoveryv1.EndpointSlice{ObjectMeta: named(name), AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, TargetRef: pod}},
			Ports:     []discoveryv1.EndpointPort{{Name: &portName, Port: &port}}})
	}
	slice("elsewhere", true, nil)
	slice("pods", true, &corev1.ObjectReference{Kind: "Pod", Name: "p"})
	slice("waiting", false, nil)
	s := services{corelisters.NewServiceLister(objects), discoverylisters.NewEndpointSliceLister(slices),
		func(_ context.Context, namespace, name string, port int32) (net.Conn, error) {
			return nil, fmt.Errorf("a pod of %s/%s:%d was asked for: %w", namespace, name, port, errors.ErrUnsupported)
		}, nil}
	for _, c := range []struct {
		name, service string
		pod           string
	}{
		{"an endpoint that is no pod, at its own address", "elsewhere", ""},
		{"a pod, as the gateway reaches pods", "pods", "a pod of n/pods:443 was asked for"},
		{"where nobody is ready, likewise", "waiting", "a pod of n/waiting:443 was asked for"},
		{"where there is no Service, likewise", "missing", "a pod of n/missing:443 was asked for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn, err := s.dial(t.Context(), "n", c.service, 443)
			switch {
			case c.pod != "":
				if err == nil || !strings.Contains(err.Error(), c.pod) {
					t.Errorf("got %v, want %q", err, c.pod)
				}
			case err != nil || conn.RemoteAddr().String() != listener.Addr().String():
				t.Errorf("got %v, %v", conn, err)
			default:
				conn.Close()
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

// around marks a transport as gone through.
type around struct{ http.RoundTripper }

func TestWebhooksAreAskedThroughWhatIsGiven(t *testing.T) {
	t.Parallel()
	s := services{through: func(next http.RoundTripper) http.RoundTripper { return around{next} }}
	made := func() (*rest.Config, error) { return &rest.Config{}, nil }
	wrapped := s.wrap(&webhook.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc:        func(string) (*rest.Config, error) { return made() },
		ClientConfigForServiceFunc: func(string, string, int) (*rest.Config, error) { return made() },
	})
	address, err := wrapped.ClientConfigFor("hook:443")
	service, serviceErr := wrapped.ClientConfigForService("hook", "n", 443)
	if err != nil || serviceErr != nil {
		t.Fatal(err, serviceErr)
	}
	for name, config := range map[string]*rest.Config{"by address": address, "by Service": service} {
		road, err := rest.TransportFor(config)
		if _, ok := road.(around); err != nil || !ok {
			t.Errorf("%s: got %T, %v", name, road, err)
		}
	}
}
