// Package write sends the controllers' writes: as the controller's own user, in
// bulk, under the leader's fence.
//
// A Request is built by the functions of request.go; Client.Do sends any number of
// them and answers one Result each, in order. Do returns an error only when the
// outcome is unknown or nothing was sent; each Result carries its own refusal.
package write

import (
	"context"
	"fmt"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/message"
)

// chunk is the most writes that go out in one message; the contract allows 1,000.
const chunk = 500

// API is what a client needs of apiclient.Client.
type API interface {
	Do(ctx context.Context, request apiclient.Request) ([]byte, error)
	Bulk(ctx context.Context, options apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error)
}

// Client writes as one user. The zero value is of no use.
type Client struct {
	api   API
	fence func() *message.Fence
}

// New returns a client on api; fence gives the epoch each write depends on and may
// be nil where there is but one instance.
func New(api API, fence func() *message.Fence) *Client {
	if fence == nil {
		fence = func() *message.Fence { return nil }
	}
	return &Client{api, fence}
}

// Do sends the requests; those of one chunk are committed together, each on its own merits.
func (c *Client) Do(ctx context.Context, requests ...apiclient.Request) ([]apiclient.Result, error) {
	results := make([]apiclient.Result, 0, len(requests))
	for len(requests) > 0 {
		n := min(chunk, len(requests))
		answers, err := c.api.Bulk(ctx, apiclient.BulkOptions{Fence: c.fence()}, requests[:n])
		if err != nil {
			return results, fmt.Errorf("sending %d writes: %w", n, err)
		}
		if len(answers) != n {
			return results, fmt.Errorf("sent %d writes, got %d answers", n, len(answers))
		}
		results = append(results, answers...)
		requests = requests[n:]
	}
	return results, nil
}

// One sends a single write and returns the object it made.
func (c *Client) One(ctx context.Context, request apiclient.Request) ([]byte, error) {
	results, err := c.Do(ctx, request)
	if err != nil {
		return nil, err
	}
	return results[0].Body, results[0].Err
}

// Read asks the API, past all views.
func (c *Client) Read(ctx context.Context, path string) ([]byte, error) {
	return c.api.Do(ctx, apiclient.Request{Method: "GET", Path: path})
}
