package admission

import (
	"context"
	"net"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
)

// DialFunc connects with a ready pod behind a Service's port.
type DialFunc func(ctx context.Context, namespace, service string, port int32) (net.Conn, error)

// services reaches the webhooks, and the Services that they name.
type services struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
	pods     DialFunc
	through  transport.WrapperFunc // of the clients' transports
}

func newServices(f informers.SharedInformerFactory, pods DialFunc, through transport.WrapperFunc) services {
	return services{f.Core().V1().Services().Lister(), f.Discovery().V1().EndpointSlices().Lister(), pods, through}
}

// ResolveEndpoint is upstream's webhook.ServiceResolver. It says the Service's name:
// who dials finds the endpoint.
func (s services) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(name+"."+namespace+".svc", strconv.Itoa(int(port)))}, nil
}

// wrap makes the clients of Services dial through dial, and all of them ask through through.
func (s services) wrap(delegate webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
	return &webhook.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc: func(hostPort string) (*rest.Config, error) {
			config, err := delegate.ClientConfigFor(hostPort)
			if err != nil {
				return nil, err
			}
			config.Wrap(s.through)
			return config, nil
		},
		ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
			config, err := delegate.ClientConfigForService(name, namespace, port)
			if err != nil {
				return nil, err
			}
			config.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return s.dial(ctx, namespace, name, int32(port)) //nolint:gosec // a port fits
			}
			config.Wrap(s.through)
			return config, nil
		},
	}
}

// dial connects with a ready endpoint. One that is no pod, as people write them for
// what runs elsewhere, has an address that this process can reach or cannot; pods
// are reached as all of the gateway reaches them.
func (s services) dial(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
	if elsewhere, err := proxy.ResolveEndpoint(s.services, s, namespace, name, port); err == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", elsewhere.Host)
	}
	return s.pods(ctx, namespace, name, port)
}

// GetEndpointSlices is upstream's proxy.EndpointSliceGetter, without pods.
func (s services) GetEndpointSlices(namespace, service string) ([]*discoveryv1.EndpointSlice, error) {
	slices, err := s.slices.EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service}))
	if err != nil {
		return nil, err
	}
	out := make([]*discoveryv1.EndpointSlice, 0, len(slices))
	for _, slice := range slices {
		without := *slice
		without.Endpoints = nil
		for _, e := range slice.Endpoints {
			if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || e.TargetRef.APIVersion != "" && e.TargetRef.APIVersion != corev1.SchemeGroupVersion.String() {
				without.Endpoints = append(without.Endpoints, e)
			}
		}
		out = append(out, &without)
	}
	return out, nil
}
