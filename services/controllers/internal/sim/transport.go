package sim

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"

	"kubus.dev/proto"
	"kubus.dev/proto/message"
)

// RoundTrip implements apiclient.Transport.
func (p *Process) RoundTrip(user string, r *http.Request) (*http.Response, error) {
	uri := r.URL.RequestURI()
	got, err := p.c.ask(r.Context(), &call{from: p, user: user, text: user + " GET " + uri, do: func() (any, error) {
		found, err := p.c.get(uri)
		return respond(found, err), nil
	}})
	if err != nil {
		return nil, err
	}
	answer := got.(*message.ApiResponse)
	return &http.Response{StatusCode: int(answer.Code), Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(answer.Body))}, nil
}

// Bulk implements apiclient.Transport. Events are taken at once and kept nowhere.
func (p *Process) Bulk(ctx context.Context, user string, r *message.BulkRequest) (*message.BulkResponse, error) {
	texts, events := make([]string, len(r.Items)), true
	for i, item := range r.Items {
		texts[i] = item.Method + " " + item.Path + " " + string(item.Body)
		events = events && (strings.HasSuffix(item.Path, "/events") || strings.Contains(item.Path, "/events/"))
	}
	if events {
		response := &message.BulkResponse{}
		for range r.Items {
			response.Items = append(response.Items, &message.ApiResponse{Code: http.StatusCreated, Body: []byte("{}")})
		}
		return response, nil
	}
	slices.Sort(texts)
	user = strings.TrimPrefix(user, proto.ControllerUser(""))
	got, err := p.c.ask(ctx, &call{from: p, user: user, text: user + " " + strings.Join(texts, "; "), bulk: r})
	if err != nil {
		return nil, err
	}
	return got.(*message.BulkResponse), nil
}

// AcquireFence implements apiclient.Transport.
func (p *Process) AcquireFence(ctx context.Context, user string, r *message.AcquireFence) (*message.FenceState, error) {
	got, err := p.c.ask(ctx, &call{from: p, user: user, text: "fence " + r.Name, do: func() (any, error) { return p.c.takeFence(r), nil }})
	if err != nil {
		return nil, err
	}
	return got.(*message.FenceState), nil
}
