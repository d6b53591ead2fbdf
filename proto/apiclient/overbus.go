package apiclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

// OverBus is a Transport over the bus: single requests as request and reply,
// watches and log streams through a tunnel. No gateway there is a 503 status.
func OverBus(conn *bus.Conn) Transport { return overBus{conn} }

type overBus struct{ conn *bus.Conn }

// TunnelKindHTTP marks a tunnel whose opening is an ApiRequest; the response
// comes as HTTP/1.1 on channel 1.
const TunnelKindHTTP = "http"

func (o overBus) RoundTrip(user string, r *http.Request) (*http.Response, error) {
	data, err := encode(r)
	if err != nil {
		return nil, err
	}
	if streams(r) {
		return o.stream(user, r, data)
	}
	resp, err := ask(o.conn, kubus.APIRequestSubject(user), r, data)
	if err != nil {
		return nil, unavailable(err)
	}
	return resp, nil
}

// streams tells whether the response may go on for long or be large.
func streams(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	q := r.URL.Query()
	if w := q.Get("watch"); w == "1" || w == "true" {
		return true
	}
	// A collection can exceed the bus's largest message.
	return strings.HasSuffix(r.URL.Path, "/log") || !strings.Contains(q.Get("fieldSelector"), "metadata.name=")
}

func (o overBus) stream(user string, r *http.Request, data []byte) (*http.Response, error) {
	t, err := tunnel.PeerAs(user).Dial(r.Context(), o.conn, kubus.APITunnelSubject(user), &message.TunnelOpen{Kind: TunnelKindHTTP, Request: data})
	if err != nil {
		if refused := (*tunnel.Error)(nil); errors.As(err, &refused) && refused.Text == errTooMuch().Error() {
			return nil, errTooMuch()
		}
		return nil, unavailable(err)
	}
	stop := context.AfterFunc(r.Context(), func() { t.Close(r.Context().Err()) })
	resp, err := http.ReadResponse(bufio.NewReader(t.Channel(1)), r)
	if err != nil {
		stop()
		t.Close(err)
		return nil, fmt.Errorf("reading the response: %w", err)
	}
	resp.Body = &streamBody{resp.Body, t, stop}
	return resp, nil
}

type streamBody struct {
	io.ReadCloser
	t    *tunnel.Tunnel
	stop func() bool
}

func (b *streamBody) Close() error {
	b.stop()
	b.t.Close(nil)
	return nil
}

func (o overBus) Bulk(ctx context.Context, user string, r *message.BulkRequest) (*message.BulkResponse, error) {
	resp := &message.BulkResponse{}
	return resp, o.call(ctx, kubus.APIBulkSubject(user), r, resp)
}

func (o overBus) AcquireFence(ctx context.Context, user string, r *message.AcquireFence) (*message.FenceState, error) {
	resp := &message.FenceState{}
	return resp, o.call(ctx, kubus.APIFenceSubject(user), r, resp)
}

// call is a request whose answer is an ApiResponse with the message as its body.
func (o overBus) call(ctx context.Context, subject string, req, resp proto.Message) error {
	data, err := proto.Marshal(req)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	answer, err := o.conn.Request(ctx, subject, data)
	if err != nil {
		return unavailable(err)
	}
	var outer message.ApiResponse
	if err := proto.Unmarshal(answer, &outer); err != nil {
		return fmt.Errorf("decoding the answer: %w", err)
	}
	if err := statusError(int(outer.Code), outer.Body); err != nil {
		return err
	}
	if err := proto.Unmarshal(outer.Body, resp); err != nil {
		return fmt.Errorf("decoding the answer: %w", err)
	}
	return nil
}

func unavailable(err error) error {
	if errors.Is(err, bus.ErrNoResponders) {
		return apierrors.NewServiceUnavailable("no gateway answers on the bus")
	}
	return err
}

func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the request's body: %w", err)
	}
	return body, nil
}

// Header makes an HTTP header of a message's lines.
func Header(lines []*message.Header) http.Header {
	h := make(http.Header, len(lines))
	for _, l := range lines {
		h.Add(l.Name, l.Value)
	}
	return h
}
