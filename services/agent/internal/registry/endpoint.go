// Package registry says where the images of a registry are asked for, and how: of the
// registry itself, or of mirrors before it.
//
// Start with Settings.Endpoints. It reads what operators of other clusters have already: a
// folder in the form of containerd's certs.d (hosts.go) and a file in the form of k3s'
// registries.yaml (file.go). Where both speak of a registry, the folder names the endpoints;
// the file's logins and TLS settings count for both.
//
// Promises: the files are read each time, so a change counts for the next pull. One that cannot
// be read or understood is an error that names it: nobody is asked behind an operator's back.
// Login data of the files goes to the host that it is for, and to no other.
package registry

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Endpoint is a server that is asked for images of a registry.
type Endpoint struct {
	Host    string            // host, or host:port
	Scheme  string            // http or https; empty: as the client would without settings
	Prefix  string            // what stands before the name of an image in a path, in the place of "/v2"; empty: "/v2"
	Mirror  bool              // it is not the registry itself
	Resolve bool              // it may say what a tag stands for
	Pull    bool              // it may be asked for images
	Header  http.Header       // sent with each request to it
	Auth    *authn.AuthConfig // nil: none is set
	TLS     *tls.Config       // nil: the system's CAs
	rewrite *rewrite
}

// rewrite changes names of images for a mirror.
type rewrite struct {
	pattern     *regexp.Regexp
	replacement string
}

// Repository is the name under which the endpoint has a repository.
func (e *Endpoint) Repository(repository string) string {
	if e.rewrite == nil {
		return repository
	}
	return e.rewrite.pattern.ReplaceAllString(repository, e.rewrite.replacement)
}

// Path is where the endpoint has what a registry has at p.
func (e *Endpoint) Path(p string) string {
	rest, ok := strings.CutPrefix(p, "/v2/")
	if e.Prefix == "" || !ok {
		return p
	}
	return strings.TrimSuffix(e.Prefix, "/") + "/" + rest
}

// Settings are where the files are; an empty name, or one where nothing is, says nothing.
type Settings struct {
	File string // like k3s' registries.yaml
	Dir  string // like containerd's certs.d
}

// Endpoints are asked in their order. The last is the registry itself, unless a hosts.toml
// names another server.
func (s Settings) Endpoints(registry string) ([]Endpoint, error) {
	file, err := readFile(s.File)
	if err != nil {
		return nil, err
	}
	endpoints, found, err := readHosts(s.Dir, familiar(registry))
	if err != nil {
		return nil, err
	}
	if !found {
		if endpoints, err = file.endpoints(familiar(registry)); err != nil {
			return nil, fmt.Errorf("%s: %w", s.File, err)
		}
		endpoints = append(endpoints, Endpoint{Host: registry, Resolve: true, Pull: true})
	}
	for i := range endpoints {
		if err := file.complete(&endpoints[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", s.File, err)
		}
	}
	return endpoints, nil
}

// familiar gives Docker Hub the name that people write.
func familiar(registry string) string {
	if registry == name.DefaultRegistry {
		return "docker.io"
	}
	return registry
}

// parse reads an endpoint's URL, as both files write it; without a scheme it is https,
// on loopback http. A path stands before "/v2", or with override in its place.
func parse(text string, override bool) (Endpoint, error) {
	full := text
	if !strings.Contains(text, "://") {
		full = "https://" + text
	}
	u, err := url.Parse(full)
	if err != nil {
		return Endpoint{}, fmt.Errorf("%q is no URL: %w", text, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return Endpoint{}, fmt.Errorf("%q must be http:// or https:// with a host, a port and a path at most", text)
	}
	if full != text && Loopback(u.Hostname()) {
		u.Scheme = "http"
	}
	e := Endpoint{Host: u.Host, Scheme: u.Scheme, Resolve: true, Pull: true}
	switch p := strings.TrimSuffix(u.Path, "/"); {
	case p == "" || p == "/v2":
	case override || strings.HasSuffix(p, "/v2"):
		e.Prefix = path.Clean(p)
	default:
		e.Prefix = path.Clean(p) + "/v2"
	}
	return e, nil
}

// Loopback tells names and addresses of this very machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// secured makes the TLS settings of a host; nil: nothing is set.
func secured(cas []string, pairs [][2]string, skipVerify bool) (*tls.Config, error) {
	if len(cas) == 0 && len(pairs) == 0 && !skipVerify {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: skipVerify}
	if len(cas) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("reading the system's CAs: %w", err)
		}
		for _, file := range cas {
			pem, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("reading a CA: %w", err)
			}
			if !pool.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s has no certificate", file)
			}
		}
		c.RootCAs = pool
	}
	for _, pair := range pairs {
		cert, key := pair[0], pair[1]
		if key == "" {
			key = cert
		}
		certificate, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("reading a client certificate: %w", err)
		}
		c.Certificates = append(c.Certificates, certificate)
	}
	return c, nil
}
