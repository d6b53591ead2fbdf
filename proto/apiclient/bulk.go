package apiclient

import (
	"context"
	"fmt"

	"kubus.dev/proto/message"
)

// BulkMost is how many requests one bulk may carry; Bulk splits longer ones
// unless they are atomic.
const BulkMost = 1000

// BulkOptions say how the requests of a bulk belong together.
type BulkOptions struct {
	Atomic bool           // all or nothing
	Fence  *message.Fence // commit only while this epoch is the newest
}

// Result is the answer to one request of a bulk. Err is nil or a *StatusError.
type Result struct {
	Code int
	Body []byte
	Err  error
}

// Bulk sends many writes as one; they run through the same chain as single
// requests and commit together. The results are in the requests' order. The
// error is that of the transport: nothing is known of the requests then.
func (c *Client) Bulk(ctx context.Context, o BulkOptions, requests []Request) ([]Result, error) {
	if len(requests) == 0 {
		return nil, nil
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, Timeout)
		defer cancel()
	}
	results := make([]Result, 0, len(requests))
	for len(requests) > 0 {
		n := bulkSize(requests, o.Atomic)
		part, err := c.bulk(ctx, o, requests[:n])
		if err != nil {
			return nil, err
		}
		results = append(results, part...)
		requests = requests[n:]
	}
	return results, nil
}

// bulkBytes keeps a bulk well inside the bus's largest message.
const bulkBytes = 4 << 20

func bulkSize(requests []Request, atomic bool) int {
	if atomic {
		return len(requests)
	}
	size := 0
	for i, r := range requests {
		size += len(r.Body) + len(r.Path) + 128
		if i > 0 && size > bulkBytes || i == BulkMost {
			return i
		}
	}
	return len(requests)
}

func (c *Client) bulk(ctx context.Context, o BulkOptions, requests []Request) ([]Result, error) {
	msg := &message.BulkRequest{Atomic: o.Atomic, Fence: o.Fence, Items: make([]*message.ApiRequest, len(requests))}
	for i, r := range requests {
		r = r.withDefaults()
		msg.Items[i] = &message.ApiRequest{Method: r.Method, Path: r.RequestURI(), Body: r.Body,
			Headers: []*message.Header{{Name: "Content-Type", Value: r.ContentType}, {Name: "Accept", Value: r.Accept}}}
	}
	resp, err := c.transport.Bulk(ctx, c.user, msg)
	if err != nil {
		return nil, fmt.Errorf("bulk of %d requests: %w", len(requests), err)
	}
	if len(resp.Items) != len(requests) {
		return nil, fmt.Errorf("bulk of %d requests: %d answers", len(requests), len(resp.Items))
	}
	results := make([]Result, len(resp.Items))
	for i, it := range resp.Items {
		results[i] = Result{Code: int(it.Code), Body: it.Body, Err: statusError(int(it.Code), it.Body)}
	}
	return results, nil
}
