package apiclient

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

// mostTunnels is how many watches, lists and logs one user has open at one gateway: an
// agent has one a kind and one a Secret or ConfigMap that its pods use.
const mostTunnels = 4096

// Serve answers the API over the bus with a gateway's chain: the counterpart of
// OverBus, in the queue group of all gateways. It takes requests until Stop of
// the subscription; running ones end with ctx.
func Serve(ctx context.Context, conn *bus.Conn, s Server) (*bus.Subscription, error) {
	quota := tunnel.NewQuota(mostTunnels)
	return conn.Subscribe(kubus.APISubjects, kubus.APIQueue, func(m *bus.Msg) {
		user, verb, err := kubus.ParseAPISubject(m.Subject)
		if err != nil || m.Reply != "" && !kubus.MayBeAnswered(user, m.Reply) {
			return // the answer would go where the gateway may publish and the caller may not
		}
		own := &bus.Msg{}
		*own = *m
		switch verb {
		case "request":
			go serveRequest(ctx, s, user, own)
		case "bulk":
			go answer(own, &message.BulkRequest{}, func(r proto.Message) (proto.Message, error) {
				return s.BulkAs(ctx, user, r.(*message.BulkRequest))
			})
		case "fence":
			go answer(own, &message.AcquireFence{}, func(r proto.Message) (proto.Message, error) {
				return s.AcquireFenceAs(ctx, user, r.(*message.AcquireFence))
			})
		case "tunnel":
			tunnel.GatewayWith(user).SendOnly().Within(quota).Accept(ctx, conn, own, func(ctx context.Context, open *message.TunnelOpen, t *tunnel.Tunnel) error {
				return serveTunnel(ctx, s, user, open, t)
			})
		}
	})
}

// answer decodes a request, runs it and responds with an ApiResponse.
func answer(m *bus.Msg, req proto.Message, run func(proto.Message) (proto.Message, error)) {
	var body []byte
	code := http.StatusOK
	err := proto.Unmarshal(m.Data, req)
	if err != nil {
		err = apierrors.NewBadRequest("unreadable message: " + err.Error())
	} else {
		var resp proto.Message
		if resp, err = run(req); err == nil {
			body, err = proto.Marshal(resp)
		}
	}
	if err != nil {
		code, body = statusBody(err)
	}
	respond(m, &message.ApiResponse{Code: int32(code), Body: body})
}

func statusBody(err error) (int, []byte) {
	status, ok := err.(apierrors.APIStatus)
	if !ok {
		status = apierrors.NewInternalError(err)
	}
	s := status.Status()
	s.Kind, s.APIVersion = "Status", "v1"
	body, err := json.Marshal(s)
	if err != nil {
		return http.StatusInternalServerError, nil
	}
	return int(s.Code), body
}

func respond(m *bus.Msg, resp *message.ApiResponse) {
	if data, err := proto.Marshal(resp); err == nil {
		_ = m.Respond(data) // a caller that is gone will not miss it
	}
}

func httpRequest(ctx context.Context, r *message.ApiRequest) (*http.Request, error) {
	if !strings.HasPrefix(r.Path, "/") {
		return nil, fmt.Errorf("path %q does not begin with a slash", r.Path)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, "http://gateway"+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	req.Header = Header(r.Headers)
	req.RequestURI, req.RemoteAddr = r.Path, "127.0.0.1:0"
	return req, nil
}

// NewRequest makes the HTTP request of a message, for a gateway's bulk.
func NewRequest(ctx context.Context, r *message.ApiRequest) (*http.Request, error) {
	return httpRequest(ctx, r)
}

func serveRequest(ctx context.Context, s Server, user string, m *bus.Msg) {
	var r message.ApiRequest
	err := proto.Unmarshal(m.Data, &r)
	var req *http.Request
	if err == nil {
		req, err = httpRequest(ctx, &r)
	}
	if err != nil {
		code, body := statusBody(apierrors.NewBadRequest(err.Error()))
		respond(m, &message.ApiResponse{Code: int32(code), Body: body})
		return
	}
	w := NewRecorder()
	s.ServeAs(user, w, req)
	respond(m, w.Response())
}

// Recorder is an http.ResponseWriter that keeps the response as a message.
type Recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

// NewRecorder makes an empty recorder.
func NewRecorder() *Recorder { return &Recorder{header: http.Header{}} }

func (w *Recorder) Header() http.Header { return w.header }

func (w *Recorder) WriteHeader(code int) {
	if w.code == 0 && code >= 200 {
		w.code = code
	}
}

func (w *Recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Response is what was written.
func (w *Recorder) Response() *message.ApiResponse {
	w.WriteHeader(http.StatusOK)
	resp := &message.ApiResponse{Code: int32(w.code), Body: w.body.Bytes()}
	for name, values := range w.header {
		for _, v := range values {
			resp.Headers = append(resp.Headers, &message.Header{Name: name, Value: v})
		}
	}
	return resp
}

func serveTunnel(ctx context.Context, s Server, user string, open *message.TunnelOpen, t *tunnel.Tunnel) error {
	if open.Kind != TunnelKindHTTP {
		return fmt.Errorf("a gateway serves no tunnels of kind %q", open.Kind)
	}
	var r message.ApiRequest
	if err := proto.Unmarshal(open.Request, &r); err != nil {
		return fmt.Errorf("unreadable request: %w", err)
	}
	req, err := httpRequest(ctx, &r)
	if err != nil {
		return err
	}
	ch := t.Channel(1)
	w := &tunnelWriter{out: bufio.NewWriterSize(ch, 32<<10), header: http.Header{}}
	s.ServeAs(user, w, req)
	w.WriteHeader(http.StatusOK)
	if err := w.out.Flush(); err != nil {
		return err
	}
	return ch.Close()
}

// tunnelWriter writes an HTTP/1.1 response whose end is the end of the channel.
type tunnelWriter struct {
	out    *bufio.Writer
	header http.Header
	wrote  bool
}

func (w *tunnelWriter) Header() http.Header { return w.header }

func (w *tunnelWriter) WriteHeader(code int) {
	if w.wrote || code < 200 {
		return
	}
	w.wrote = true
	w.header.Set("Connection", "close")
	w.header.Del("Transfer-Encoding")
	fmt.Fprintf(w.out, "HTTP/1.1 %d %s\r\n", code, http.StatusText(code))
	_ = w.header.Write(w.out)
	_, _ = w.out.WriteString("\r\n")
}

func (w *tunnelWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(p)
}

// Flush sends what was written so far.
func (w *tunnelWriter) Flush() {
	w.WriteHeader(http.StatusOK)
	_ = w.out.Flush()
}
