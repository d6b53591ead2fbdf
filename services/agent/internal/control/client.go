package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Client commands an agent of this machine.
type Client struct {
	http *http.Client
}

// NewClient speaks to the agent that listens there.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			err = fmt.Errorf("the node's agent does not answer: %w", err)
		}
		return conn, err
	}
	return &Client{&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// List gives the images of the node.
func (c *Client) List(ctx context.Context) ([]Image, error) {
	answer, err := c.do(ctx, http.MethodGet, "/images", "", nil)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	var out []Image
	if err := json.NewDecoder(answer).Decode(&out); err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	return out, nil
}

// Remove removes an image, or one of its names.
func (c *Client) Remove(ctx context.Context, ref string) error {
	answer, err := c.do(ctx, http.MethodDelete, "/images", ref, nil)
	if err != nil {
		return err
	}
	return answer.Close()
}

// Pull fetches an image.
func (c *Client) Pull(ctx context.Context, ref string, progress func(string)) error {
	_, err := c.follow(ctx, "/images/pull", ref, nil, progress)
	return err
}

// Import gives the node the images of an archive, and returns their references, also those
// before one that failed.
func (c *Client) Import(ctx context.Context, archive io.Reader, as string, progress func(string)) ([]string, error) {
	return c.follow(ctx, "/images/import", as, archive, progress)
}

func (c *Client) follow(ctx context.Context, path, name string, body io.Reader, progress func(string)) ([]string, error) {
	answer, err := c.do(ctx, http.MethodPost, path, name, body)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	lines := json.NewDecoder(answer)
	for {
		var l Line
		switch err := lines.Decode(&l); {
		case err != nil:
			return nil, fmt.Errorf("the node's agent ended in the middle: %w", err)
		case l.Error != "":
			return l.Images, errors.New(l.Error)
		case l.Progress != "":
			progress(l.Progress)
		default:
			return l.Images, nil
		}
	}
}

func (c *Client) do(ctx context.Context, method, path, name string, body io.Reader) (io.ReadCloser, error) {
	if name != "" {
		path += "?name=" + url.QueryEscape(name)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, body)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, err
	}
	if answer.StatusCode >= 300 {
		defer answer.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
		return nil, errors.New(strings.TrimSpace(string(text)))
	}
	return answer.Body, nil
}
