package image

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"kubus.dev/services/agent/internal/registry"
)

// asking is one endpoint asked for one reference.
type asking struct {
	ref       Reference
	endpoint  *registry.Endpoint
	transport *client
	auth      authn.Authenticator
	digest    string // that the reference's tag stands for; empty: the endpoint says it
}

// as asks with one login after the other, as long as they are refused: pods' own are shown to the registry itself only.
func (a *asking) as(creds []Credential, do func(*asking) error) (err error) {
	if a.endpoint.Mirror {
		creds = nil
	}
	for _, auth := range authenticators(a.endpoint, creds) {
		a.auth = auth
		if err = do(a); err == nil || !unauthorized(err) {
			return err
		}
	}
	return err
}

// target is the reference as the endpoint knows it.
func (a *asking) target(insecure []string) (name.Reference, error) {
	repository := a.ref.ref.Context()
	text := a.endpoint.Host + "/" + a.endpoint.Repository(repository.RepositoryStr())
	switch digest := a.ref.Digest(); {
	case digest != "":
		text += "@" + digest
	case a.digest != "":
		text += "@" + a.digest
	default:
		text += ":" + a.ref.ref.Identifier()
	}
	options := []name.Option{name.WeakValidation}
	if a.endpoint.Scheme == "http" || a.endpoint.Scheme == "" && slices.Contains(insecure, a.endpoint.Host) {
		options = append(options, name.Insecure)
	}
	return name.ParseReference(text, options...)
}

func (a *asking) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuth(a.auth), remote.WithTransport(a.transport), remote.WithUserAgent("kubus"),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}),
	}
}

// resolveTag asks what the reference's tag stands for.
func (s *Store) resolveTag(ctx context.Context, a *asking) (digest string, err error) {
	target, err := a.target(s.opts.Insecure)
	if err != nil {
		return "", err
	}
	desc, err := remote.Head(target, a.options(ctx)...)
	if err != nil {
		return "", fmt.Errorf("failed to resolve reference %q: %w", a.ref, resolveError(a.ref, err))
	}
	return desc.Digest.String(), nil
}

// client is a transport that notes what it asked and refuses plain HTTP to registries that have not been allowed.
// A registry elsewhere may not send us, by a redirect or as the realm of its tokens, to this machine or its link:
// what answers there would be shown to whoever made the pod.
type client struct {
	base     *http.Transport
	endpoint *registry.Endpoint
	registry string // whose images are asked for
	insecure []string

	mu    sync.Mutex
	asked []string
}

func newTransport(e *registry.Endpoint, registry string, insecure []string) *client {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.ResponseHeaderTimeout = 60 * time.Second
	base.MaxIdleConnsPerHost = parallelLayers
	if e.TLS != nil {
		base.TLSClientConfig = e.TLS
	}
	return &client{base: base, endpoint: e, registry: registry, insecure: insecure}
}

// RoundTrip implements http.RoundTripper.
func (c *client) RoundTrip(req *http.Request) (*http.Response, error) {
	home := req.URL.Host == c.endpoint.Host
	if home {
		req = c.endpointRequest(req)
	}
	if strings.Contains(req.URL.Path, "/manifests/") || strings.HasSuffix(req.URL.Path, "/v2/") {
		c.note(req.URL.Scheme + "://" + req.URL.Host + req.URL.Path)
	}
	if !home && near(req.URL.Hostname()) && !slices.Contains(c.insecure, req.URL.Host) {
		return nil, fmt.Errorf("refusing to follow %s to %s: it is an address of this machine or its link", c.endpoint.Host, req.URL.Host)
	}
	allowed := home && c.endpoint.Scheme == "http" || slices.Contains(c.insecure, req.URL.Host)
	if req.URL.Scheme == "http" && !registry.Loopback(req.URL.Hostname()) && !allowed {
		return nil, fmt.Errorf("refusing plain HTTP to %s: it is not on loopback and not configured as insecure", req.URL.Host)
	}
	return c.base.RoundTrip(req)
}

// endpointRequest is a request as the settings want it for the endpoint.
func (c *client) endpointRequest(req *http.Request) *http.Request {
	e := c.endpoint
	if e.Scheme == "" && len(e.Header) == 0 && !e.Mirror && e.Prefix == "" {
		return req
	}
	req = req.Clone(req.Context())
	if e.Scheme != "" {
		req.URL.Scheme = e.Scheme
	}
	if strings.HasPrefix(req.URL.Path, "/v2/") {
		if e.Mirror && len(req.URL.Path) > len("/v2/") { // which registry's, a mirror of several must know
			query := req.URL.Query()
			query.Set("ns", familiar(c.registry))
			req.URL.RawQuery = query.Encode()
		}
		req.URL.Path, req.URL.RawPath = e.Path(req.URL.Path), ""
	}
	for name, values := range e.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	return req
}

func (c *client) note(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.asked, url) {
		c.asked = append(c.asked, url)
	}
}

func (c *client) endpoints() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

// near tells hosts that mean something else on every machine.
func near(host string) bool {
	ip := net.ParseIP(host)
	return registry.Loopback(host) || strings.HasSuffix(host, ".localhost") || ip != nil && (ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsInterfaceLocalMulticast())
}
