package registry

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"go.yaml.in/yaml/v3"
)

// file is a registries.yaml as k3s documents it.
type file struct {
	Mirrors map[string]mirror `yaml:"mirrors"` // by registry; "*" is every other
	Configs map[string]config `yaml:"configs"` // by host, or host:port
}

type mirror struct {
	Endpoint []string          `yaml:"endpoint"`
	Rewrite  map[string]string `yaml:"rewrite"` // by pattern: the replacement
}

type config struct {
	Auth *login `yaml:"auth"`
	TLS  *trust `yaml:"tls"`
}

type login struct {
	Username      string `yaml:"username"`
	Password      string `yaml:"password"`
	Auth          string `yaml:"auth"` // base64 of username:password
	IdentityToken string `yaml:"identity_token"`
}

type trust struct {
	CAFile             string `yaml:"ca_file"`
	CertFile           string `yaml:"cert_file"`
	KeyFile            string `yaml:"key_file"`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
}

func readFile(name string) (*file, error) {
	f := &file{}
	if name == "" {
		return f, nil
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the registries: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(f); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the registries in %s: %w", name, err)
	}
	return f, nil
}

// endpoints are the mirrors of a registry.
func (f *file) endpoints(registry string) ([]Endpoint, error) {
	m, ok := f.Mirrors[registry]
	if !ok {
		m = f.Mirrors["*"]
	}
	change, err := m.rewrite()
	if err != nil {
		return nil, err
	}
	var endpoints []Endpoint
	for _, text := range m.Endpoint {
		e, err := parse(text, false)
		if err != nil {
			return nil, fmt.Errorf("mirrors of %s: endpoint %w", registry, err)
		}
		e.Mirror, e.rewrite = true, change
		endpoints = append(endpoints, e)
	}
	return endpoints, nil
}

// rewrite is the change of names; of several patterns, which k3s takes in any order, only one
// may stand there.
func (m *mirror) rewrite() (*rewrite, error) {
	if len(m.Rewrite) > 1 {
		return nil, fmt.Errorf("rewrite: %s: only one pattern is allowed, as it is not said which comes first", strings.Join(slices.Sorted(maps.Keys(m.Rewrite)), ", "))
	}
	for pattern, replacement := range m.Rewrite {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("rewrite: %w", err)
		}
		return &rewrite{re, replacement}, nil
	}
	return nil, nil
}

// complete adds what the file says of an endpoint's host.
func (f *file) complete(e *Endpoint) error {
	c, ok := f.Configs[e.Host]
	if !ok {
		c, ok = f.Configs[familiar(e.Host)]
	}
	if !ok {
		return nil
	}
	if a := c.Auth; a != nil {
		auth, err := a.config()
		if err != nil {
			return fmt.Errorf("configs of %s: %w", e.Host, err)
		}
		e.Auth = auth
	}
	if t := c.TLS; t != nil && e.TLS == nil {
		var cas []string
		if t.CAFile != "" {
			cas = []string{t.CAFile}
		}
		var pairs [][2]string
		if t.CertFile != "" || t.KeyFile != "" {
			pairs = [][2]string{{t.CertFile, t.KeyFile}}
		}
		secure, err := secured(cas, pairs, t.InsecureSkipVerify)
		if err != nil {
			return fmt.Errorf("configs of %s: %w", e.Host, err)
		}
		e.TLS = secure
	}
	return nil
}

func (l *login) config() (*authn.AuthConfig, error) {
	if l.Auth == "" {
		return &authn.AuthConfig{Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken}, nil
	}
	text, err := base64.StdEncoding.DecodeString(l.Auth)
	user, password, ok := strings.Cut(strings.TrimRight(string(text), "\x00"), ":")
	if err != nil || !ok {
		return nil, errors.New("auth is not the base64 of username:password") // which it may be in part: it is not shown
	}
	return &authn.AuthConfig{Username: user, Password: password, IdentityToken: l.IdentityToken}, nil
}
