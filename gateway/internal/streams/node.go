package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/endpoints/request"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/tunnel"
)

var nodes = kubus.GroupResource{Resource: "nodes"}

const (
	// agentPort is the port that clients know a kubelet by. An agent has none: the
	// name may carry it, no other.
	agentPort = "10250"
	// answerTimeout is how long an agent may take to say that it is there.
	answerTimeout = 10 * time.Second
)

// nodeProxy serves nodes/[scheme:]name[:port]/proxy/path: the part of a kubelet's
// endpoints that can be answered without one. /pods is what the log says of the
// node, /healthz whether its agent answers; /containerLogs and ownPaths go to the agent.
func (s *Server) nodeProxy(w http.ResponseWriter, req *http.Request) {
	info, ok := request.RequestInfoFrom(req.Context())
	if !ok {
		fail(w, req, apierrors.NewInternalError(errors.New("no RequestInfo found in the context")))
		return
	}
	_, name, port, ok := utilnet.SplitSchemeNamePort(info.Name)
	if !ok || port != "" && port != agentPort {
		fail(w, req, apierrors.NewBadRequest(fmt.Sprintf("invalid node request %q: the agent of a node is reached by its name alone", info.Name)))
		return
	}
	err := s.fresh(req.Context(), nodes) // pods are in the same stream
	if err == nil {
		_, err = get[corev1.Node](s, nodes, "", name)
	}
	if err == nil {
		path := strings.Join(info.Parts[min(3, len(info.Parts)):], "/")
		err = s.ofNode(w, req, name, strings.FieldsFunc(path, func(r rune) bool { return r == '/' }))
	}
	if err != nil {
		fail(w, req, err)
	}
}

// ofNode answers one endpoint of a node.
func (s *Server) ofNode(w http.ResponseWriter, req *http.Request, node string, path []string) error {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return apierrors.NewMethodNotSupported(schema.GroupResource{Resource: "nodes/proxy"}, req.Method)
	}
	switch {
	case len(path) == 1 && path[0] == "pods":
		return s.podsOf(w, node)
	case len(path) == 1 && path[0] == "healthz":
		if err := s.answers(req.Context(), node); err != nil {
			return err
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok") // the client may have gone
		return nil
	case ownPaths[strings.Join(path, "/")] != "":
		return s.tells(w, req, node, strings.Join(path, "/"))
	case (len(path) == 4 || len(path) == 5) && path[0] == "containerLogs":
		return s.logsOf(w, req, node, path[1], path[2], path[len(path)-1])
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: fmt.Sprintf("node %s does not serve /%s: its agent has /healthz, /pods, /stats/summary, /metrics, /metrics/probes, /metrics/resource, /metrics/cadvisor, /configz and /containerLogs/NAMESPACE/POD/CONTAINER", node, strings.Join(path, "/")),
	}}
}

// podsOf lists the pods that are bound to a node, as its agent is told them.
func (s *Server) podsOf(w http.ResponseWriter, node string) error {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	var err error
	s.o.View(pods).Snapshot(pods).Ascend("", func(e *statelog.Entry) bool {
		var pod *corev1.Pod
		if pod, err = statelog.Decode[corev1.Pod](e); err != nil {
			err = apierrors.NewInternalError(err)
			return false
		}
		if pod.Spec.NodeName == node {
			list.Items = append(list.Items, *pod)
		}
		return true
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) // the client may have gone
	return nil
}

// answers asks the agent of a node for nothing in particular: that it refuses is
// the answer.
func (s *Server) answers(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	t, err := s.dial(ctx, "healthz", &corev1.Pod{Spec: corev1.PodSpec{NodeName: node}}, &message.NodeRequest{})
	switch {
	case apierrors.IsBadRequest(err):
		return nil
	case err != nil:
		return err
	}
	defer t.Close(nil)
	stop := context.AfterFunc(ctx, func() { t.Close(context.Cause(ctx)) })
	defer stop()
	_, _ = io.Copy(io.Discard, t.Channel(stdout)) // ends with the tunnel
	var refused *tunnel.Error
	if errors.As(t.Err(), &refused) {
		return nil
	}
	return apierrors.NewServiceUnavailable(fmt.Sprintf("the agent of node %s does not answer", node))
}

// ownPaths are those that an agent answers itself, with the media type of the answer.
var ownPaths = map[string]string{
	"stats/summary":    "application/json",
	"configz":          "application/json",
	"metrics":          "text/plain; version=0.0.4; charset=utf-8",
	"metrics/probes":   "text/plain; version=0.0.4; charset=utf-8",
	"metrics/resource": "text/plain; version=0.0.4; charset=utf-8",
	"metrics/cadvisor": "text/plain; version=0.0.4; charset=utf-8",
}

// ownMost bounds what an agent may say of its node.
const ownMost = 16 << 20

// tells is what the agent of a node says of it at one of ownPaths.
func (s *Server) tells(w http.ResponseWriter, req *http.Request, node, path string) error {
	ctx, cancel := context.WithTimeout(req.Context(), answerTimeout)
	defer cancel()
	t, err := s.dial(ctx, "node", &corev1.Pod{Spec: corev1.PodSpec{NodeName: node}}, &message.NodeRequest{Path: path})
	if err != nil {
		return err
	}
	defer t.Close(nil)
	stop := context.AfterFunc(ctx, func() { t.Close(context.Cause(ctx)) })
	defer stop()
	body, err := io.ReadAll(io.LimitReader(t.Channel(stdout), ownMost))
	if refused := refusal(t); refused != nil {
		return refused
	}
	if err != nil {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("the agent of node %s does not answer", node))
	}
	w.Header().Set("Content-Type", ownPaths[path])
	_, _ = w.Write(body) // the client may have gone
	return nil
}

// logsOf is a container's log by the path of a kubelet; the options are those of
// pods/log.
func (s *Server) logsOf(w http.ResponseWriter, req *http.Request, node, namespace, name, container string) error {
	o, err := logOptions(req)
	if err != nil {
		return err
	}
	pod, err := get[corev1.Pod](s, pods, namespace, name)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != node {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
	}
	if container, err = containerOf(pod, container); err != nil {
		return err
	}
	return s.sendLog(w, req, pod, logRequest(o, container))
}
