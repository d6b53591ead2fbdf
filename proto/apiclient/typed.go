package apiclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Get reads one object or list.
func Get[T any](ctx context.Context, c *Client, path string) (*T, error) {
	return decode[T](c.Do(ctx, Request{Path: path}))
}

// List reads a list with a query.
func List[T any](ctx context.Context, c *Client, path string, query url.Values) (*T, error) {
	return decode[T](c.Do(ctx, Request{Path: path, Query: query}))
}

// Create posts an object to a collection (or a subresource) and gives the answer.
func Create[T any](ctx context.Context, c *Client, path string, obj any) (*T, error) {
	return send[T](ctx, c, http.MethodPost, path, obj)
}

// Update puts an object; its resourceVersion, when set, must be the present one.
func Update[T any](ctx context.Context, c *Client, path string, obj any) (*T, error) {
	return send[T](ctx, c, http.MethodPut, path, obj)
}

// Content types of patches.
const (
	JSONPatch           = "application/json-patch+json"
	MergePatch          = "application/merge-patch+json"
	StrategicMergePatch = "application/strategic-merge-patch+json"
	ApplyPatch          = "application/apply-patch+yaml"
)

// Patch patches an object; patch is marshalled unless it is a []byte.
func Patch[T any](ctx context.Context, c *Client, path, contentType string, patch any) (*T, error) {
	body, ok := patch.([]byte)
	if !ok {
		var err error
		if body, err = json.Marshal(patch); err != nil {
			return nil, fmt.Errorf("encoding the patch of %s: %w", path, err)
		}
	}
	return decode[T](c.Do(ctx, Request{Method: http.MethodPatch, Path: path, Body: body, ContentType: contentType}))
}

// Delete deletes an object; options may be nil.
func Delete(ctx context.Context, c *Client, path string, options *metav1.DeleteOptions) error {
	r, err := DeleteRequest(path, options)
	if err != nil {
		return err
	}
	_, err = c.Do(ctx, r)
	return err
}

// DeleteRequest is the request that Delete sends, for bulks.
func DeleteRequest(path string, options *metav1.DeleteOptions) (Request, error) {
	r := Request{Method: http.MethodDelete, Path: path}
	if options != nil {
		o := *options
		o.TypeMeta = metav1.TypeMeta{Kind: "DeleteOptions", APIVersion: "v1"}
		body, err := json.Marshal(o)
		if err != nil {
			return r, fmt.Errorf("encoding delete options: %w", err)
		}
		r.Body = body
	}
	return r, nil
}

func send[T any](ctx context.Context, c *Client, method, path string, obj any) (*T, error) {
	body, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encoding for %s %s: %w", method, path, err)
	}
	return decode[T](c.Do(ctx, Request{Method: method, Path: path, Body: body}))
}

func decode[T any](body []byte, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	out := new(T)
	if err := json.Unmarshal(body, out); err != nil {
		return nil, fmt.Errorf("decoding the answer: %w", err)
	}
	return out, nil
}
