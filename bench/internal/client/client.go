// Package client is the load generator's HTTP client: JSON over HTTP/2 with a
// client certificate from a kubeconfig, the same for every server it measures, and
// as little of its own as can be.
package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// Config is a server and the credentials for it.
type Config struct {
	Server string
	File   string // the kubeconfig
	tls    *tls.Config
	token  string
}

type kubeconfig struct {
	CurrentContext string `json:"current-context"`
	Clusters       []struct {
		Name    string `json:"name"`
		Cluster struct {
			Server string `json:"server"`
			CA     string `json:"certificate-authority"`
			CAData string `json:"certificate-authority-data"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User struct {
			Cert     string `json:"client-certificate"`
			CertData string `json:"client-certificate-data"`
			Key      string `json:"client-key"`
			KeyData  string `json:"client-key-data"`
		} `json:"user"`
	} `json:"users"`
	Contexts []struct {
		Name    string `json:"name"`
		Context struct {
			Cluster string `json:"cluster"`
			User    string `json:"user"`
		} `json:"context"`
	} `json:"contexts"`
}

// Load reads the current context of a kubeconfig.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	var k kubeconfig
	if err := yaml.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	var cluster, user string
	for _, c := range k.Contexts {
		if c.Name == k.CurrentContext {
			cluster, user = c.Context.Cluster, c.Context.User
		}
	}
	dir := filepath.Dir(path)
	cfg := &Config{File: path, tls: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}}
	for _, c := range k.Clusters {
		if c.Name != cluster {
			continue
		}
		cfg.Server = c.Cluster.Server
		ca, err := content(dir, c.Cluster.CA, c.Cluster.CAData)
		if err != nil {
			return nil, err
		}
		cfg.tls.RootCAs.AppendCertsFromPEM(ca)
	}
	for _, u := range k.Users {
		if u.Name != user {
			continue
		}
		cert, err := content(dir, u.User.Cert, u.User.CertData)
		if err != nil {
			return nil, err
		}
		key, err := content(dir, u.User.Key, u.User.KeyData)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %s: client certificate: %w", path, err)
		}
		cfg.tls.Certificates = []tls.Certificate{pair}
	}
	if cfg.Server == "" || len(cfg.tls.Certificates) == 0 {
		return nil, fmt.Errorf("kubeconfig %s: context %q names no cluster and client certificate", path, k.CurrentContext)
	}
	return cfg, nil
}

func content(dir, file, data string) ([]byte, error) {
	if data != "" {
		return base64.StdEncoding.DecodeString(data)
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	return os.ReadFile(file)
}

// Client is one client with a connection of its own.
type Client struct {
	server string
	http   *http.Client
}

// New opens no connection yet. Bodies come as they are, not compressed: the
// machine's own loopback needs no gzip.
func (c *Config) New() *Client {
	var t http.RoundTripper = &http.Transport{TLSClientConfig: c.tls.Clone(), ForceAttemptHTTP2: true, DisableCompression: true}
	if c.token != "" {
		t = bearer{c.token, t}
	}
	return &Client{c.Server, &http.Client{Transport: t}}
}

// Close closes the client's connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// StatusError is an answer that is no success.
type StatusError struct {
	Code int
	Body string
}

func (e *StatusError) Error() string { return fmt.Sprintf("HTTP %d: %.300s", e.Code, e.Body) }

// IsNotFound tells whether the server said 404.
func IsNotFound(err error) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Code == http.StatusNotFound
}

// IsRefused tells whether the server said 429.
func IsRefused(err error) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Code == http.StatusTooManyRequests
}

// IsInvalid tells whether the server said 422.
func IsInvalid(err error) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Code == http.StatusUnprocessableEntity
}

// IsExists tells whether the server said 409.
func IsExists(err error) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Code == http.StatusConflict
}

// Do sends a body, if any, and gives the whole answer.
func (c *Client) Do(ctx context.Context, method, path string, body any) ([]byte, error) {
	resp, err := c.send(ctx, method, path, body, "application/json")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return data, nil
}

// Patch sends a merge patch.
func (c *Client) Patch(ctx context.Context, path string, body any) error {
	resp, err := c.send(ctx, http.MethodPatch, path, body, "application/merge-patch+json")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// Read reads an answer, drops it, and gives its size.
func (c *Client) Read(ctx context.Context, path string) (int64, error) {
	resp, err := c.send(ctx, http.MethodGet, path, nil, "")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return io.Copy(io.Discard, resp.Body)
}

// ReadAs is Read with an Accept of the caller's.
func (c *Client) ReadAs(ctx context.Context, path, accept string) (int64, error) {
	resp, err := c.sendAs(ctx, http.MethodGet, path, nil, "", accept)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return io.Copy(io.Discard, resp.Body)
}

// Open begins an answer and leaves it unread. The caller closes it.
func (c *Client) Open(ctx context.Context, path string) (io.Closer, error) {
	resp, err := c.send(ctx, http.MethodGet, path, nil, "")
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Watch calls line with each line of a watch until it returns false or ctx ends.
// The slice is good until the next call.
func (c *Client) Watch(ctx context.Context, path string, line func([]byte) bool) error {
	resp, err := c.send(ctx, http.MethodGet, path, nil, "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	r := bufio.NewReaderSize(resp.Body, 64<<10)
	var long []byte
	for {
		part, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, part...)
			continue
		}
		if err != nil {
			return err
		}
		if len(long) > 0 {
			long = append(long, part...)
			part = long
		}
		if !line(part) {
			return nil
		}
		long = long[:0]
	}
}

func (c *Client) send(ctx context.Context, method, path string, body any, contentType string) (*http.Response, error) {
	return c.sendAs(ctx, method, path, body, contentType, "application/json")
}

func (c *Client) sendAs(ctx context.Context, method, path string, body any, contentType, accept string) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		data, ok := body.([]byte)
		if !ok {
			var err error
			if data, err = json.Marshal(body); err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, path, err)
			}
		}
		r = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, r)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", "kubus-bench")
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		data, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, fmt.Errorf("%s %s: %w", method, path, &StatusError{resp.StatusCode, string(data)})
	}
	return resp, nil
}
