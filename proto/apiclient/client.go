package apiclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto/message"
)

// Transport carries requests of one user to a gateway.
type Transport interface {
	// RoundTrip is as http.RoundTripper's; the body of the response may stream.
	RoundTrip(user string, r *http.Request) (*http.Response, error)
	Bulk(ctx context.Context, user string, r *message.BulkRequest) (*message.BulkResponse, error)
	AcquireFence(ctx context.Context, user string, r *message.AcquireFence) (*message.FenceState, error)
}

// Client speaks to the API as one user.
type Client struct {
	transport Transport
	user      string
	failed    func(path string, err error)
}

// New makes a client for a user that the transport's credential may speak as.
func New(t Transport, user string) *Client { return &Client{transport: t, user: user} }

// As is the same client speaking as another user.
func (c *Client) As(user string) *Client { return &Client{c.transport, user, c.failed} }

// Reporting is the same client, which tells of each error after which a ListWatch begins
// anew.
func (c *Client) Reporting(failed func(path string, err error)) *Client {
	return &Client{c.transport, c.user, failed}
}

// User is who the client speaks as.
func (c *Client) User() string { return c.user }

// Request is one API request. Path begins with a slash, without query.
type Request struct {
	Method      string // default GET
	Path        string
	Query       url.Values
	Body        []byte
	ContentType string // default application/json
	Accept      string // default application/json
}

// RequestURI is the path with its query.
func (r Request) RequestURI() string {
	if len(r.Query) == 0 {
		return r.Path
	}
	return r.Path + "?" + r.Query.Encode()
}

func (r Request) withDefaults() Request {
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if r.ContentType == "" {
		r.ContentType = "application/json"
	}
	if r.Accept == "" {
		r.Accept = "application/json"
	}
	return r
}

// Timeout bounds a request whose context has no deadline.
const Timeout = 30 * time.Second

// Do sends one request and gives the body of its answer.
func (c *Client) Do(ctx context.Context, r Request) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, Timeout)
		defer cancel()
	}
	resp, err := c.open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	return body, statusError(resp.StatusCode, body)
}

// open sends a request; the caller closes the body.
func (c *Client) open(ctx context.Context, r Request) (*http.Response, error) {
	r = r.withDefaults()
	req, err := http.NewRequestWithContext(ctx, r.Method, "http://gateway"+r.RequestURI(), bytes.NewReader(r.Body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	if len(r.Body) > 0 {
		req.Header.Set("Content-Type", r.ContentType)
	}
	req.Header.Set("Accept", r.Accept)
	req.Header.Set("User-Agent", "kubus")
	resp, err := c.transport.RoundTrip(c.user, req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	return resp, nil
}

// RoundTripper lets any HTTP client, such as client-go's, speak through this one.
// The host of its URLs does not matter.
func (c *Client) RoundTripper() http.RoundTripper { return roundTripper{c} }

type roundTripper struct{ c *Client }

func (rt roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	return rt.c.transport.RoundTrip(rt.c.user, r)
}

// statusError turns an answer that is no success into a *StatusError.
func statusError(code int, body []byte) error {
	if code >= 200 && code < 300 {
		return nil
	}
	status := metav1.Status{}
	if err := json.Unmarshal(body, &status); err == nil && status.Kind == "Status" && status.Status != "" {
		return &apierrors.StatusError{ErrStatus: status}
	}
	return apierrors.NewGenericServerResponse(code, "", schema.GroupResource{}, "", string(body), 0, true)
}

// AcquireFence takes a fence (see statelog.Log.AcquireFence) through the gateway.
func (c *Client) AcquireFence(ctx context.Context, name, holder string, epoch uint64) (*message.FenceState, error) {
	return c.transport.AcquireFence(ctx, c.user, &message.AcquireFence{Name: name, Holder: holder, Epoch: epoch})
}
