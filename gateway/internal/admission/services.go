package admission

import (
	"net/url"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
)

// services finds the endpoints of the Services that webhooks name.
type services struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

func newServices(f informers.SharedInformerFactory) services {
	return services{f.Core().V1().Services().Lister(), f.Discovery().V1().EndpointSlices().Lister()}
}

// ResolveEndpoint gives the address of a ready endpoint, any of them, as
// https://address:port. It must be reachable from where the gateway runs, which is
// a node's network or the pods'.
func (s services) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	return proxy.ResolveEndpoint(s.services, s, namespace, name, port)
}

// GetEndpointSlices is upstream's proxy.EndpointSliceGetter.
func (s services) GetEndpointSlices(namespace, service string) ([]*discoveryv1.EndpointSlice, error) {
	return s.slices.EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service}))
}
