package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/endpoints/request"
	endpoints "k8s.io/apiserver/pkg/util/proxy"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/tunnel"
)

var (
	services = kubus.GroupResource{Resource: "services"}
	slices   = kubus.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
)

// podProxy serves pods/[scheme:]name[:port]/proxy/path: without a port, the first
// that a container declares.
func (s *Server) podProxy(w http.ResponseWriter, req *http.Request) {
	s.proxy(w, req, func(namespace, id string) (*backend, error) {
		scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
		if !ok {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", id))
		}
		if err := s.fresh(req.Context(), pods); err != nil {
			return nil, err
		}
		pod, err := get[corev1.Pod](s, pods, namespace, name)
		if err != nil {
			return nil, err
		}
		if port == "" {
			port = firstPort(pod, scheme)
		}
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q: %q is no port number", id, port))
		}
		if pod.Status.PodIP == "" {
			return nil, apierrors.NewBadRequest("address not allowed")
		}
		return &backend{pod: pod, scheme: scheme, address: pod.Status.PodIP, port: uint32(number)}, nil
	})
}

// firstPort is the first port that a container declares, else the scheme's own.
func firstPort(pod *corev1.Pod, scheme string) string {
	for i := range pod.Spec.Containers {
		if ports := pod.Spec.Containers[i].Ports; len(ports) > 0 {
			return strconv.Itoa(int(ports[0].ContainerPort))
		}
	}
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// serviceProxy serves services/[scheme:]name[:port]/proxy/path by any ready pod of
// the service; the port is a name or number of the service's.
func (s *Server) serviceProxy(w http.ResponseWriter, req *http.Request) {
	s.proxy(w, req, func(namespace, id string) (*backend, error) {
		scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
		if !ok {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", id))
		}
		if err := s.fresh(req.Context(), services); err != nil { // slices and pods are in the same stream
			return nil, err
		}
		if number, err := strconv.ParseInt(port, 10, 64); err == nil {
			service, err := get[corev1.Service](s, services, namespace, name)
			if err != nil {
				return nil, err
			}
			if port, ok = portName(service, number); !ok {
				return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, name))
			}
		}
		return s.anyPod(namespace, name, port, scheme)
	})
}

func portName(service *corev1.Service, number int64) (string, bool) {
	for i := range service.Spec.Ports {
		if p := &service.Spec.Ports[i]; int64(p.Port) == number {
			return p.Name, true
		}
	}
	return "", false
}

// anyPod picks a ready endpoint that is a pod of the namespace with that address.
func (s *Server) anyPod(namespace, service, port, scheme string) (*backend, error) {
	of := []*discoveryv1.EndpointSlice{}
	s.o.View(slices).Snapshot(slices).Ascend(namespace, func(e *statelog.Entry) bool {
		if e.Meta().Labels[discoveryv1.LabelServiceName] != service {
			return true
		}
		if slice, err := statelog.Decode[discoveryv1.EndpointSlice](e); err == nil {
			of = append(of, slice)
		}
		return true
	})
	var chosen *corev1.Pod
	address, err := endpoints.RandomEndpoint(service, of, port, corev1.IPv4Protocol, func(e *discoveryv1.Endpoint) bool {
		if e.TargetRef == nil || e.TargetRef.Namespace != namespace || len(e.Addresses) == 0 {
			return false
		}
		pod, err := get[corev1.Pod](s, pods, namespace, e.TargetRef.Name)
		if err != nil {
			return false
		}
		for _, ip := range pod.Status.PodIPs {
			if ip.IP == e.Addresses[0] {
				chosen = pod
				return true
			}
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return &backend{pod: chosen, scheme: scheme, address: host, port: uint32(number)}, nil
}

// DialService connects with a port of a ready pod behind a Service; port is one of
// the Service's. The context bounds the dialling only. Errors are Statuses.
func (s *Server) DialService(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
	service, err := get[corev1.Service](s, services, namespace, name)
	if err != nil {
		return nil, err
	}
	portName, ok := portName(service, int64(port))
	if !ok {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", port, name))
	}
	to, err := s.anyPod(namespace, name, portName, "")
	if err != nil {
		return nil, err
	}
	if err := scheduled(to.pod); err != nil {
		return nil, err
	}
	return s.dialPort(ctx, to)
}

// backend is what a request is proxied to.
type backend struct {
	pod     *corev1.Pod
	scheme  string // "", "http" or "https"
	address string
	port    uint32
}

// proxy finds the backend of a request and lets it answer. Upgrades pass through;
// links in HTML are rewritten, as upstream does.
func (s *Server) proxy(w http.ResponseWriter, req *http.Request, find func(namespace, id string) (*backend, error)) {
	info, ok := request.RequestInfoFrom(req.Context())
	if !ok {
		fail(w, req, apierrors.NewInternalError(errors.New("no RequestInfo found in the context")))
		return
	}
	to, err := find(info.Namespace, info.Name)
	if err == nil {
		err = scheduled(to.pod)
	}
	if err != nil {
		fail(w, req, err)
		return
	}
	location := &url.URL{Scheme: to.scheme, Host: net.JoinHostPort(to.address, strconv.Itoa(int(to.port)))}
	if path := strings.Join(info.Parts[min(3, len(info.Parts)):], "/"); path != "" {
		location.Path = "/" + path
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		// What a pod serves proves nothing by its certificate: the tunnel says which pod it is.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as upstream
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return s.dialPort(ctx, to)
		},
	}
	defer transport.CloseIdleConnections()
	proxy.NewUpgradeAwareHandler(location, transport, true, false, responder{}).ServeHTTP(w, req)
}

// responder writes what went wrong on the way to a backend.
type responder struct{}

func (responder) Error(w http.ResponseWriter, req *http.Request, err error) {
	var refused *tunnel.Error
	if errors.As(err, &refused) || !isStatus(err) {
		err = apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err))
	}
	fail(w, req, err)
}

func isStatus(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status)
}

// dialPort connects with a port of a pod. The context bounds the dialling only.
func (s *Server) dialPort(ctx context.Context, to *backend) (net.Conn, error) {
	t, err := s.dial(ctx, "proxy", to.pod, &message.NodeRequest{Port: to.port})
	if err != nil {
		return nil, err
	}
	return &portConn{Channel: t.Channel(stdin), t: t}, nil
}

// portConn is a tunnel's channel as a connection. It has no deadlines: the request
// that uses it closes it.
type portConn struct {
	*tunnel.Channel
	t *tunnel.Tunnel
}

func (c *portConn) Read(p []byte) (int, error) {
	n, err := c.Channel.Read(p)
	var refused *tunnel.Error
	if err != nil && errors.As(c.t.Err(), &refused) {
		return n, refused
	}
	return n, err
}

func (c *portConn) Close() error {
	err := c.Channel.Close()
	c.t.Close(nil)
	return err
}

func (c *portConn) CloseWrite() error                { return c.Channel.Close() }
func (c *portConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *portConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *portConn) SetDeadline(time.Time) error      { return nil }
func (c *portConn) SetReadDeadline(time.Time) error  { return nil }
func (c *portConn) SetWriteDeadline(time.Time) error { return nil }
