package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"kubus.dev/services/agent/internal/runtime"
)

// Exec is the part of the runtime that exec probes and hooks need.
type Exec interface {
	Exec(ctx context.Context, id string, opts runtime.ExecOptions) (exitCode int, err error)
}

// Outcome of one attempt. Err: the question could not be asked, which says
// nothing of the container.
type Outcome struct {
	OK      bool
	Warning bool // OK, with a Message that its owner should see
	Message string
	Err     error
}

// Runner asks containers.
type Runner struct {
	exec Exec
	http *http.Client
	h2c  *http.Client
}

// Limits of what is read of a container's answer.
const (
	maxOutput = 10 << 10
	maxBody   = 10 << 10
)

// UserAgent of probes, as kubelet's.
const UserAgent = "kube-probe/1.37"

// NewRunner makes one; connections are never kept.
func NewRunner(exec Exec) *Runner {
	r := &Runner{exec: exec}
	r.http = &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives:  true,
			DisableCompression: true,
			Proxy:              nil,
			// A probe asks whether the container answers, not who it is.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext:     dialer.DialContext,
		},
		CheckRedirect: redirect,
	}
	r.h2c = newH2C()
	return r
}

var dialer = &net.Dialer{} // stateless; a linger is of no use to a probe

// redirect follows redirects within the container; one that leaves it is the answer.
func redirect(req *http.Request, via []*http.Request) error {
	if req.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	return nil
}

// Run asks once, within the probe's timeout.
func (r *Runner) Run(ctx context.Context, p *corev1.Probe, c *corev1.Container, id, podIP string) Outcome {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	switch {
	case p.Exec != nil:
		return r.command(ctx, id, p.Exec.Command, timeout)
	case p.HTTPGet != nil:
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return r.get(ctx, p.HTTPGet, c, podIP)
	case p.TCPSocket != nil:
		return connect(ctx, p.TCPSocket, c, podIP, timeout)
	case p.GRPC != nil:
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return r.grpc(ctx, p.GRPC, podIP)
	}
	return Outcome{Err: fmt.Errorf("missing probe handler for %s", c.Name)}
}

func (r *Runner) command(ctx context.Context, id string, command []string, timeout time.Duration) Outcome {
	var out bounded
	code, err := r.exec.Exec(ctx, id, runtime.ExecOptions{Command: command, Stdout: &out, Stderr: &out, Timeout: timeout})
	switch {
	case errors.Is(err, runtime.ErrExecTimeout):
		return Outcome{Message: fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(command, " "), timeout)}
	case err != nil:
		return Outcome{Err: err}
	}
	return Outcome{OK: code == 0, Message: out.String()}
}

// bounded keeps the first bytes written to it.
type bounded struct{ buf bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxOutput - b.buf.Len(); room > 0 {
		b.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
func (b *bounded) String() string { return b.buf.String() }

func (r *Runner) get(ctx context.Context, h *corev1.HTTPGetAction, c *corev1.Container, podIP string) Outcome {
	req, err := Request(ctx, h, c, podIP, UserAgent)
	if err != nil {
		return Outcome{Err: err}
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return Outcome{Message: err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return Outcome{Message: err.Error()}
	}
	switch {
	case resp.StatusCode >= http.StatusMultipleChoices && resp.StatusCode < http.StatusBadRequest:
		return Outcome{OK: true, Warning: true, Message: fmt.Sprintf("Probe terminated redirects, Response body: %s", body)}
	case resp.StatusCode >= http.StatusOK && resp.StatusCode < http.StatusBadRequest:
		return Outcome{OK: true, Message: string(body)}
	}
	return Outcome{Message: fmt.Sprintf("HTTP probe failed with statuscode: %d", resp.StatusCode)}
}

// Get sends the request of a lifecycle hook; only a failed exchange is an error.
func (r *Runner) Get(ctx context.Context, h *corev1.HTTPGetAction, c *corev1.Container, podIP string) error {
	req, err := Request(ctx, h, c, podIP, "kube-lifecycle/1.37")
	if err != nil {
		return err
	}
	resp, err := r.http.Do(req)
	if err != nil && req.URL.Scheme == "https" && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		req.URL.Scheme = "http"
		req.Header.Del("Authorization")
		resp, err = r.http.Do(req)
	}
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxBody) // the answer does not matter
	return resp.Body.Close()
}

// Request builds the HTTP request of a probe or hook.
func Request(ctx context.Context, h *corev1.HTTPGetAction, c *corev1.Container, podIP, agent string) (*http.Request, error) {
	port, err := Port(h.Port, c)
	if err != nil {
		return nil, err
	}
	host := h.Host
	if host == "" {
		host = podIP
	}
	u, err := url.Parse(h.Path)
	if err != nil {
		u = &url.URL{Path: h.Path}
	}
	u.Scheme = strings.ToLower(string(h.Scheme))
	if u.Scheme == "" {
		u.Scheme = "http"
	}
	u.Host = net.JoinHostPort(host, strconv.Itoa(port))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, header := range h.HTTPHeaders {
		req.Header.Add(header.Name, header.Value)
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header.Set("User-Agent", agent)
	}
	if v, ok := req.Header["Accept"]; !ok {
		req.Header.Set("Accept", "*/*")
	} else if len(v) > 0 && v[0] == "" {
		req.Header.Del("Accept")
	}
	req.Host = req.Header.Get("Host")
	return req, nil
}

// Port resolves a port by number or by the name of a container's port.
func Port(p intstr.IntOrString, c *corev1.Container) (int, error) {
	port := p.IntValue()
	if p.Type == intstr.String {
		found := false
		for _, cp := range c.Ports {
			if cp.Name == p.StrVal {
				port, found = int(cp.ContainerPort), true
			}
		}
		if !found {
			n, err := strconv.Atoi(p.StrVal)
			if err != nil {
				return 0, fmt.Errorf("couldn't find port: %q in %q", p.StrVal, c.Name)
			}
			port = n
		}
	}
	if port <= 0 || port > 65535 {
		return 0, fmt.Errorf("invalid port number: %v", port)
	}
	return port, nil
}

func connect(ctx context.Context, t *corev1.TCPSocketAction, c *corev1.Container, podIP string, timeout time.Duration) Outcome {
	port, err := Port(t.Port, c)
	if err != nil {
		return Outcome{Err: err}
	}
	host := t.Host
	if host == "" {
		host = podIP
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return Outcome{Message: err.Error()}
	}
	_ = conn.Close() // it was accepted, that is all we asked
	return Outcome{OK: true}
}
