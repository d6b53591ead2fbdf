package streams

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	constants "k8s.io/apimachinery/pkg/util/portforward"
	clientforward "k8s.io/client-go/tools/portforward"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

var forwardProtocols = []string{portforward.ProtocolV1Name}

func (s *Server) forward(w http.ResponseWriter, req *http.Request, pod *corev1.Pod) error {
	if err := s.mayCreate(req); err != nil {
		return err
	}
	if err := scheduled(pod); err != nil {
		return err
	}
	if pod.Status.Phase != corev1.PodRunning {
		return apierrors.NewBadRequest("unable to forward port because pod is not running. Current status=" + string(pod.Status.Phase))
	}
	f := &forwarder{s, pod}
	if wsstream.IsWebSocketRequestWithTunnelingProtocol(req) {
		return f.overWebSocket(w, req)
	}
	o, err := channelPorts(req)
	if err != nil {
		return err
	}
	portforward.ServePortForward(w, req, f, pod.Name, string(pod.UID), o, idleTimeout, creationTimeout, forwardProtocols)
	return nil
}

// channelPorts are the ports of a client of the older way over WebSocket, which
// gets two channels for each; other clients name ports within the connection.
func channelPorts(req *http.Request) (*portforward.V4Options, error) {
	o := &core.PodPortForwardOptions{}
	if err := query(req, o); err != nil {
		return nil, err
	}
	if wsstream.IsWebSocketRequest(req) && len(o.Ports) == 0 {
		return nil, apierrors.NewBadRequest(`query parameter "ports" is required`)
	}
	for _, port := range o.Ports {
		if port < 1 || port > math.MaxUint16 {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("port %d must be between 1 and 65535", port))
		}
	}
	return &portforward.V4Options{Ports: o.Ports}, nil
}

// forwarder opens a tunnel for each connection.
type forwarder struct {
	s   *Server
	pod *corev1.Pod
}

// PortForward connects a stream with a port of the pod until either side is done.
func (f *forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	t, err := f.s.dial(ctx, "portforward", f.pod, &message.NodeRequest{Port: uint32(port)})
	if err != nil {
		return err
	}
	defer t.Close(nil)
	ch := t.Channel(stdin)
	go func() { // ends when the client closes, or the caller closes the stream
		if _, err := io.Copy(ch, stream); err != nil {
			t.Close(errors.New("the client left"))
			return
		}
		_ = ch.Close() // the pod sees the end of the client's data
	}()
	_, err = io.Copy(stream, ch)
	var refused *tunnel.Error
	if errors.As(t.Err(), &refused) {
		return refused
	}
	return err
}

// overWebSocket serves kubectl's newer way: the SPDY connection itself travels
// in WebSocket messages.
func (f *forwarder) overWebSocket(w http.ResponseWriter, req *http.Request) error {
	upgrader := websocket.Upgrader{
		CheckOrigin:  func(*http.Request) bool { return true }, // tokens, not cookies, prove who asks
		Subprotocols: []string{constants.WebsocketsSPDYTunnelingPortForwardV1},
	}
	ws, err := upgrader.Upgrade(w, req, nil)
	if err != nil {
		return nil // the upgrader has answered
	}
	conn := clientforward.NewTunnelingConnectionWithLogger(klog.Background(), ws)
	defer conn.Close()
	inner := req.Clone(req.Context())
	inner.Method = http.MethodPost
	inner.Header = http.Header{}
	inner.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	inner.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	inner.Header.Set(httpstream.HeaderProtocolVersion, portforward.ProtocolV1Name)
	portforward.ServePortForward(&hijacked{conn: conn, header: http.Header{}}, inner, f, f.pod.Name, string(f.pod.UID), nil, idleTimeout, creationTimeout, forwardProtocols)
	return nil
}

// hijacked lets an upgrade take a connection that is upgraded already.
type hijacked struct {
	conn   net.Conn
	header http.Header
}

func (h *hijacked) Header() http.Header         { return h.header }
func (h *hijacked) WriteHeader(int)             {}
func (h *hijacked) Write(p []byte) (int, error) { return len(p), nil }
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}
