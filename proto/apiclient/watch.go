package apiclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Watch runs one watch call and hands over its events until the server ends it
// (nil), h fails, or ctx ends. An ERROR event is returned as its *StatusError.
func (c *Client) Watch(ctx context.Context, path string, query url.Values, h func(eventType string, object []byte) error) error {
	q := url.Values{"watch": {"1"}}
	for k, v := range query {
		q[k] = v
	}
	resp, err := c.open(ctx, Request{Path: path, Query: q})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Errorf("watching %s: %w", path, err)
		}
		return statusError(resp.StatusCode, body)
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var ev struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := dec.Decode(&ev); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("watching %s: %w", path, err)
		}
		if ev.Type == "ERROR" {
			var status metav1.Status
			if err := json.Unmarshal(ev.Object, &status); err != nil {
				return fmt.Errorf("watching %s: %w", path, err)
			}
			return &apierrors.StatusError{ErrStatus: status}
		}
		if err := h(ev.Type, ev.Object); err != nil {
			return err
		}
	}
}

// ListWatch follows a collection: lists it, then watches, lists again where the
// watch was too far behind, and retries with back-off while no gateway answers, of
// which it tells (Client.Reporting).
// onChange sees (nil, new), (old, new), (old, nil), one at a time; synced, which
// may be nil, runs after the first list. It ends with ctx.
func ListWatch[T any](ctx context.Context, c *Client, path string, query url.Values, onChange func(old, new *T), synced func()) error {
	f := follower[T]{client: c, path: path, query: query, onChange: onChange, known: map[string]*T{}}
	for wait := 100 * time.Millisecond; ; {
		began := time.Now()
		err := f.run(ctx, func() {
			if synced != nil {
				synced()
				synced = nil
			}
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && c.failed != nil {
			c.failed(path, err)
		}
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			wait = max(wait, time.Second)
		}
		if time.Since(began) > 5*time.Second {
			wait = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

type follower[T any] struct {
	client   *Client
	path     string
	query    url.Values
	onChange func(old, new *T)
	known    map[string]*T // by namespace/name
	revision string        // where the next watch begins; empty: list first
}

type objectName struct {
	Metadata struct {
		Namespace       string `json:"namespace"`
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
}

// run lists when it must, then watches until the watch breaks.
func (f *follower[T]) run(ctx context.Context, synced func()) error {
	if f.revision == "" {
		if err := f.list(ctx); err != nil {
			return err
		}
	}
	synced()
	for {
		q := url.Values{"resourceVersion": {f.revision}, "allowWatchBookmarks": {"true"}}
		for k, v := range f.query {
			q[k] = v
		}
		err := f.client.Watch(ctx, f.path, q, f.event)
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			f.revision = "" // what is there now is listed when this has been waited for
		}
		if err != nil {
			return err
		}
	}
}

func (f *follower[T]) list(ctx context.Context) error {
	body, err := f.client.Do(ctx, Request{Path: f.path, Query: f.query})
	if err != nil {
		return err
	}
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("listing %s: %w", f.path, err)
	}
	seen := make(map[string]bool, len(list.Items))
	for _, item := range list.Items {
		key, err := f.set(item)
		if err != nil {
			return err
		}
		seen[key] = true
	}
	for key, old := range f.known {
		if !seen[key] {
			delete(f.known, key)
			f.onChange(old, nil)
		}
	}
	f.revision = list.Metadata.ResourceVersion
	return nil
}

func (f *follower[T]) event(eventType string, object []byte) error {
	var id objectName
	if err := json.Unmarshal(object, &id); err != nil {
		return fmt.Errorf("watching %s: %w", f.path, err)
	}
	switch eventType {
	case "ADDED", "MODIFIED":
		if _, err := f.set(object); err != nil {
			return err
		}
	case "DELETED":
		key := id.Metadata.Namespace + "/" + id.Metadata.Name
		if old := f.known[key]; old != nil {
			delete(f.known, key)
			f.onChange(old, nil)
		}
	}
	f.revision = id.Metadata.ResourceVersion
	return nil
}

func (f *follower[T]) set(object []byte) (string, error) {
	var id objectName
	if err := json.Unmarshal(object, &id); err != nil {
		return "", fmt.Errorf("reading %s: %w", f.path, err)
	}
	obj := new(T)
	if err := json.Unmarshal(object, obj); err != nil {
		return "", fmt.Errorf("reading %s: %w", f.path, err)
	}
	key := id.Metadata.Namespace + "/" + id.Metadata.Name
	old := f.known[key]
	f.known[key] = obj
	f.onChange(old, obj)
	return key, nil
}
