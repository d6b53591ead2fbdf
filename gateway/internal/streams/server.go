package streams

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"

	"kubus.dev/gateway/internal/resource"
	kubus "kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/tunnel"
)

// Channels of a tunnel; those of the WebSocket protocols are the same.
const (
	stdin  = 0
	stdout = 1
	stderr = 2
	status = 3
	resize = 4
)

var pods = kubus.GroupResource{Resource: "pods"}

// Options are what streams need.
type Options struct {
	Conn       *bus.Conn
	View       func(kubus.GroupResource) *statelog.View
	Barrier    func(context.Context, kubus.GroupResource) (uint64, error)
	Authorizer authorizer.UnconditionalAuthorizer
	Logger     *zap.Logger
}

// Server serves the streaming subresources of pods, services and nodes.
type Server struct{ o Options }

// New makes a Server.
func New(o Options) *Server { return &Server{o} }

// Handlers gives the subresources by "pods/name". The request's context carries
// upstream's RequestInfo.
func (s *Server) Handlers() map[string]http.Handler {
	return map[string]http.Handler{
		"pods/exec":        s.handler(s.exec),
		"pods/attach":      s.handler(s.attach),
		"pods/portforward": s.handler(s.forward),
		"pods/log":         withLogOptions(s.handler(s.logs)),
		"pods/proxy":       http.HandlerFunc(s.podProxy),
		"nodes/proxy":      http.HandlerFunc(s.nodeProxy),
		"services/proxy":   http.HandlerFunc(s.serviceProxy),
	}
}

type serveFunc func(w http.ResponseWriter, req *http.Request, pod *corev1.Pod) error

// handler finds the pod and writes what serve returns as a Status.
func (s *Server) handler(serve serveFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		pod, err := s.requested(req)
		if err == nil {
			err = serve(w, req, pod)
		}
		if err != nil {
			fail(w, req, err)
		}
	})
}

// fail writes an error as a Status in the client's form.
func fail(w http.ResponseWriter, req *http.Request, err error) {
	responsewriters.ErrorNegotiated(err, resource.Codecs, corev1.SchemeGroupVersion, w, req)
}

// requested is the pod that a stream's request names.
func (s *Server) requested(req *http.Request) (*corev1.Pod, error) {
	info, ok := request.RequestInfoFrom(req.Context())
	if !ok {
		return nil, apierrors.NewInternalError(errors.New("no RequestInfo found in the context"))
	}
	if req.Method != http.MethodGet && req.Method != http.MethodPost {
		return nil, apierrors.NewMethodNotSupported(schema.GroupResource{Resource: "pods/" + info.Subresource}, info.Verb)
	}
	if err := s.fresh(req.Context(), pods); err != nil {
		return nil, err
	}
	return get[corev1.Pod](s, pods, info.Namespace, info.Name)
}

// fresh waits until the view of gr has everything that was written before.
func (s *Server) fresh(ctx context.Context, gr kubus.GroupResource) error {
	revision, err := s.o.Barrier(ctx, gr)
	if err == nil {
		err = s.o.View(gr).WaitFor(ctx, revision)
	}
	if err != nil {
		return apierrors.NewServiceUnavailable("the state log did not answer in time")
	}
	return nil
}

func get[T any](s *Server, gr kubus.GroupResource, namespace, name string) (*T, error) {
	e := s.o.View(gr).Get(gr, namespace, name)
	if e == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: gr.Group, Resource: gr.Resource}, name)
	}
	object, err := statelog.Decode[T](e)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return object, nil
}

// mayCreate: opening a stream by GET, as WebSocket clients do, needs the same right
// as by POST.
func (s *Server) mayCreate(req *http.Request) error {
	attributes, err := filters.GetAuthorizerAttributes(req.Context())
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("error building authorizer attributes: %w", err))
	}
	if attributes.GetVerb() == "create" {
		return nil
	}
	decision, reason, err := s.o.Authorizer.Authorize(req.Context(), creating{attributes})
	if err != nil {
		return err
	}
	if decision != authorizer.DecisionAllow {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, attributes.GetName(), errors.New(reason))
	}
	return nil
}

type creating struct{ authorizer.Attributes }

func (creating) GetVerb() string { return "create" }

// query reads the options of a request into an internal options object.
func query(req *http.Request, into runtime.Object) error {
	if err := resource.ParameterCodec.DecodeParameters(req.URL.Query(), corev1.SchemeGroupVersion, into); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

// containerOf checks a container's name, or gives the only one.
func containerOf(pod *corev1.Pod, name string) (string, error) {
	var names []string
	for i := range pod.Spec.InitContainers {
		names = append(names, pod.Spec.InitContainers[i].Name)
	}
	for i := range pod.Spec.Containers {
		names = append(names, pod.Spec.Containers[i].Name)
	}
	for i := range pod.Spec.EphemeralContainers {
		names = append(names, pod.Spec.EphemeralContainers[i].Name)
	}
	if name != "" {
		for _, n := range names {
			if n == name {
				return name, nil
			}
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
	}
	switch len(pod.Spec.Containers) {
	case 0:
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", pod.Name))
	case 1:
		return pod.Spec.Containers[0].Name, nil
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", pod.Name, names))
}

func scheduled(pod *corev1.Pod) error {
	if pod.Spec.NodeName == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	return nil
}

// dial opens a tunnel to the agent of the pod's node. The caller closes it.
func (s *Server) dial(ctx context.Context, kind string, pod *corev1.Pod, r *message.NodeRequest) (*tunnel.Tunnel, error) {
	r.Namespace, r.Pod, r.Uid = pod.Namespace, pod.Name, string(pod.UID)
	body, err := proto.Marshal(r)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	t, err := tunnel.GatewayWith(kubus.NodeUser(pod.Spec.NodeName)).Dial(ctx, s.o.Conn, kubus.NodeTunnelSubject(pod.Spec.NodeName), &message.TunnelOpen{Kind: kind, Request: body})
	var refused *tunnel.Error
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, bus.ErrNoResponders) && s.o.View(nodes).Get(nodes, "", pod.Spec.NodeName) == nil:
		// As upstream's: it is the pod's path that finds nothing.
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, pod.Spec.NodeName)
	case errors.Is(err, bus.ErrNoResponders):
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("the agent of node %s is not connected", pod.Spec.NodeName))
	case errors.As(err, &refused):
		return nil, apierrors.NewBadRequest(refused.Text)
	}
	return nil, apierrors.NewInternalError(fmt.Errorf("reaching the agent of node %s: %w", pod.Spec.NodeName, err))
}
