package differential

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Side answers scenarios, several at a time.
type Side interface {
	// Begin starts one.
	Begin(scenario string) Session
}

// Session is one scenario on a side, one step at a time.
type Session interface {
	// Ask gives the answer to a step; nil where the side knows none.
	Ask(ctx context.Context, step *Step) *Answer
}

// Server is an API server over HTTPS.
type Server struct {
	base      string
	admin     *http.Client
	anonymous *http.Client
}

// session is a scenario asked of a server.
type session struct {
	*Server
	seen   *Seen
	normal *normalizer
}

// Connect reads an administrator's kubeconfig, whose certificates are files or data.
func Connect(kubeconfig string) (*Server, error) {
	data, err := os.ReadFile(kubeconfig)
	if err != nil {
		return nil, err
	}
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				CAFile string `json:"certificate-authority"`
				CA     []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			User struct {
				CertFile string `json:"client-certificate"`
				KeyFile  string `json:"client-key"`
				Cert     []byte `json:"client-certificate-data"`
				Key      []byte `json:"client-key-data"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", kubeconfig, err)
	}
	if len(config.Clusters) != 1 || len(config.Users) != 1 {
		return nil, fmt.Errorf("%s: one cluster and one user are needed", kubeconfig)
	}
	cluster, user := config.Clusters[0].Cluster, config.Users[0].User
	for _, f := range []struct {
		data *[]byte
		file string
	}{{&cluster.CA, cluster.CAFile}, {&user.Cert, user.CertFile}, {&user.Key, user.KeyFile}} {
		if len(*f.data) > 0 {
			continue
		}
		if *f.data, err = os.ReadFile(f.file); err != nil {
			return nil, fmt.Errorf("%s: %w", kubeconfig, err)
		}
	}
	pair, err := tls.X509KeyPair(user.Cert, user.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kubeconfig, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(cluster.CA) {
		return nil, fmt.Errorf("%s: no certificate of an authority", kubeconfig)
	}
	return &Server{base: cluster.Server, admin: client(pool, pair), anonymous: client(pool)}, nil
}

// client speaks HTTP/1.1, in which a request can be as wrong as it likes.
func client(pool *x509.CertPool, certs ...tls.Certificate) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certs, NextProtos: []string{"http/1.1"}}, DisableCompression: true,
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, MaxIdleConnsPerHost: 8,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Begin starts a scenario that knows nothing of the others.
func (s *Server) Begin(string) Session {
	return &session{s, newSeen(), newNormalizer(s.base)}
}

// answerTime bounds one step.
const answerTime = 70 * time.Second

// settleTime bounds how long a step waits for the answer that it wants.
const settleTime = 15 * time.Second

// Ask sends the step and reads the answer.
func (s *session) Ask(ctx context.Context, step *Step) *Answer {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	asked := step
	if step.Await != nil {
		asked = step.Await
	}
	for end := time.Now().Add(settleTime); asked.Until != nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if resp, err := s.send(ctx, asked); err == nil {
			data, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close() // it was read
			if err == nil && asked.Until(resp.StatusCode, parse(resp.Header.Get("Content-Type"), data)) {
				break
			}
		}
	}
	resp, err := s.send(ctx, step)
	if err != nil {
		return &Answer{Failed: cause(err)}
	}
	defer resp.Body.Close()
	answer := &Answer{Code: resp.StatusCode, Header: s.headers(resp.Header)}
	if step.Watch && resp.StatusCode == http.StatusOK {
		answer.Events = s.events(resp, cancel)
		return answer
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil || ctx.Err() != nil { // a server that hears first of the end of the connection may end its answer in order
		answer.Failed = "the body ended early"
	}
	if step.Opaque {
		return answer
	}
	if step.Generates != "" {
		data = generatedName(step.Generates).ReplaceAll(data, []byte(step.Generates+"<generated>"))
	}
	doc := parse(resp.Header.Get("Content-Type"), data)
	s.seen.learn(doc, step.Marks)
	if step.Unmanaged {
		unmanaged(doc)
	}
	answer.Body = s.normal.document(doc)
	return answer
}

// Do sends one request as the administrator. The caller closes the body.
func (s *Server) Do(ctx context.Context, method, path, contentType string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "differential")
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return s.admin.Do(req)
}

// Fetch gives a path's document as it is.
func (s *Server) Fetch(ctx context.Context, path, accept string) ([]byte, error) {
	asking := &session{s, newSeen(), newNormalizer(s.base)}
	resp, err := asking.send(ctx, &Step{Method: "GET", Path: path, Header: map[string]string{"Accept": accept}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, resp.Status)
	}
	return data, err
}

func (s *session) send(ctx context.Context, step *Step) (*http.Response, error) {
	body := step.Body
	if step.Edit != nil {
		body = step.Edit(s.seen)
	}
	if len(body) < 1<<20 {
		body = []byte(s.seen.fill(string(body)))
	}
	target, err := url.Parse(s.base + s.seen.fill(step.Path))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, step.Method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.URL = target
	req.Header.Set("User-Agent", "differential")
	for name, value := range step.Header {
		req.Header.Set(name, s.seen.fill(value))
	}
	switch step.User {
	case "":
	case Anonymous:
		return s.anonymous.Do(req)
	default:
		req.Header.Set("Impersonate-User", step.User)
	}
	return s.admin.Do(req)
}

// cause names why there was no answer, in words that do not name addresses.
func cause(err error) string {
	var netErr net.Error
	switch {
	case errors.As(err, &netErr) && netErr.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "reset by peer"), strings.Contains(err.Error(), "broken pipe"):
		return "the connection was closed"
	}
	return "no answer of HTTP"
}

func (s *session) headers(h http.Header) map[string]string {
	out := map[string]string{}
	for _, name := range compared {
		values := append([]string(nil), h.Values(name)...)
		sort.Strings(values)
		if len(values) > 0 {
			out[name] = s.normal.text(strings.Join(values, "\n"))
		}
	}
	for _, name := range present {
		if h.Get(name) != "" {
			out[name] = "<present>"
		}
	}
	delete(out, "Content-Length")
	return out
}
