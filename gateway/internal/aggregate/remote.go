package aggregate

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/transport"
	api "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"kubus.dev/gateway/internal/discovery"
	"kubus.dev/gateway/internal/resource"
)

// DialFunc connects with a ready endpoint of a Service's port.
type DialFunc func(ctx context.Context, namespace, service string, port int32) (net.Conn, error)

// remote is one APIService that another server is behind. It never changes; a
// change of the object makes another.
type remote struct {
	name      string
	gv        schema.GroupVersion
	service   *api.ServiceReference // nil: a Delegate
	priority  resource.Priority
	available bool
	transport http.RoundTripper
	broken    error // why there is no transport

	resources []metav1.APIResource // as the server said last
	described *described           // likewise; nil: it said nothing
}

// serviceOf is the object's reference with its default; nil when it names none.
func serviceOf(s *api.APIService) *api.ServiceReference {
	if s.Spec.Service == nil {
		return nil
	}
	ref := *s.Spec.Service
	if ref.Port == nil {
		port := int32(443)
		ref.Port = &port
	}
	return &ref
}

// newRemote makes what an APIService asks for. before is what its object said last;
// what does not differ is kept, open connections included.
func (a *Aggregator) newRemote(s *api.APIService, before *remote, old *api.APIService) *remote {
	r := &remote{
		name: s.Name, gv: schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}, service: serviceOf(s),
		priority:  resource.Priority{Group: s.Spec.GroupPriorityMinimum, Version: s.Spec.VersionPriority},
		available: helper.IsAPIServiceConditionTrue(s, api.Available),
	}
	if before != nil && old != nil && sameServer(s, old) {
		r.transport, r.broken, r.resources, r.described = before.transport, before.broken, before.resources, before.described
		return r
	}
	if r.service == nil {
		d := a.delegate(s)
		r.transport, r.resources = d.Road, d.Resources
		return r
	}
	r.transport, r.broken = a.connect(s, *r.service)
	return r
}

// sameServer says whether two states of an APIService lead to the same server by
// the same trust.
func sameServer(a, b *api.APIService) bool {
	return reflect.DeepEqual(a.Spec.Service, b.Spec.Service) && a.Spec.Group == b.Spec.Group && a.Spec.Version == b.Spec.Version &&
		a.Spec.InsecureSkipTLSVerify == b.Spec.InsecureSkipTLSVerify && string(a.Spec.CABundle) == string(b.Spec.CABundle)
}

// connect makes the transport to the Service of an APIService.
func (a *Aggregator) connect(s *api.APIService, ref api.ServiceReference) (http.RoundTripper, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         ref.Name + "." + ref.Namespace + ".svc",
		InsecureSkipVerify: s.Spec.InsecureSkipTLSVerify, //nolint:gosec // what the administrator asked for
		NextProtos:         []string{"h2", "http/1.1"},
	}
	if len(s.Spec.CABundle) > 0 {
		pool, err := transport.TLSConfigFor(&transport.Config{TLS: transport.TLSConfig{CAData: s.Spec.CABundle}})
		if err != nil {
			return nil, fmt.Errorf("caBundle of %s: %w", s.Name, err)
		}
		config.RootCAs = pool.RootCAs
	}
	if a.o.ClientCertificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return a.o.ClientCertificate() }
	}
	return utilnet.SetTransportDefaults(&http.Transport{
		TLSClientConfig: config, MaxIdleConnsPerHost: 25, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return a.o.Dial(ctx, ref.Namespace, ref.Name, *ref.Port)
		},
	}), nil
}

// host is where requests to a remote are said to go; the transport decides.
func (r *remote) host() string {
	if r.service == nil {
		return r.name
	}
	return net.JoinHostPort(r.service.Name+"."+r.service.Namespace+".svc", fmt.Sprint(*r.service.Port))
}

// shown is the remote as discovery shows it.
func (r *remote) shown() discovery.Remote {
	ours := r.service == nil
	return discovery.Remote{GroupVersion: r.gv, Priority: r.priority, Resources: r.resources, Ours: ours, Stale: !r.available && !ours}
}
