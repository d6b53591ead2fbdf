package apiclient

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

// Serving is the API on the bus while somebody serves it.
type Serving struct {
	conn   *bus.Conn
	server Server
	load   *load
	sub    *bus.Subscription
}

// Serve answers the API over the bus with a gateway's chain: the counterpart of
// OverBus, in the queue group of all gateways. It takes requests until Stop; running
// ones end with ctx. Of one identity a bounded number is in hand at a time; what
// comes beyond it is answered 429 with the seconds to wait.
func Serve(ctx context.Context, conn *bus.Conn, s Server) (*Serving, error) {
	v := &Serving{conn: conn, server: s, load: newLoad()}
	var err error
	v.sub, err = conn.Subscribe(kubus.APISubjects, kubus.APIQueue, func(m *bus.Msg) { v.take(ctx, m) })
	return v, err
}

// Stop takes no more requests. It may be called more than once.
func (v *Serving) Stop() {
	v.sub.Stop()
	v.load.stop()
}

// Wait returns after Stop when everything in hand has ended.
func (v *Serving) Wait() { v.load.wait.Wait() }

func (v *Serving) take(ctx context.Context, m *bus.Msg) {
	user, verb, err := kubus.ParseAPISubject(m.Subject)
	if err != nil || m.Reply != "" && !kubus.MayBeAnswered(user, m.Reply) {
		return // the answer would go where the gateway may publish and the caller may not
	}
	own := &bus.Msg{}
	*own = *m
	of, s := who{user: user}, v.server
	switch verb {
	case "request":
		v.run(of, own, func() { serveRequest(ctx, s, user, own) })
	case "bulk":
		v.run(of, own, func() {
			answer(own, &message.BulkRequest{}, func(r proto.Message) (proto.Message, error) {
				return s.BulkAs(ctx, user, r.(*message.BulkRequest))
			})
		})
	case "fence":
		v.run(of, own, func() {
			answer(own, &message.AcquireFence{}, func(r proto.Message) (proto.Message, error) {
				return s.AcquireFenceAs(ctx, user, r.(*message.AcquireFence))
			})
		})
	case "tunnel":
		v.tunnel(ctx, user, own)
	}
}

// run has a request answered on a goroutine of its own, if its sender may have one more.
func (v *Serving) run(of who, m *bus.Msg, serve func()) {
	size := len(m.Data)
	if err := v.load.begin(of, size); err != nil {
		code, body := statusBody(err)
		respond(m, &message.ApiResponse{Code: int32(code), Body: body, Headers: []*message.Header{
			{Name: "Content-Type", Value: "application/json"}, {Name: "Retry-After", Value: strconv.Itoa(retryAfter)},
		}})
		return
	}
	go func() {
		defer v.load.end(of, size)
		serve()
	}()
}

func (v *Serving) tunnel(ctx context.Context, user string, m *bus.Msg) {
	of, side := who{user, true}, tunnel.GatewayWith(user).SendOnly()
	if err := v.load.begin(of, 0); err != nil {
		tunnel.Refuse(m, err.Error())
		return
	}
	accepted := side.Accept(ctx, v.conn, m, func(ctx context.Context, open *message.TunnelOpen, t *tunnel.Tunnel) error {
		defer v.load.end(of, 0)
		return serveTunnel(ctx, v.server, user, open, t)
	})
	if !accepted {
		v.load.end(of, 0)
	}
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
	respond(m, Record(s, user, req))
}

// Record serves a request and gives the answer as a message. One that is cut short
// is an internal error: half an answer helps nobody.
func Record(s Server, user string, r *http.Request) *message.ApiResponse {
	w := NewRecorder()
	if err := serveAs(s, user, w, r); err != nil {
		code, body := statusBody(apierrors.NewInternalError(err))
		return &message.ApiResponse{Code: int32(code), Body: body, Headers: []*message.Header{{Name: "Content-Type", Value: "application/json"}}}
	}
	return w.Response()
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
	if err := serveAs(s, user, w, req); err != nil {
		return err // the other end reads it in place of the end
	}
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
