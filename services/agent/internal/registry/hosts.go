package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// hosts is a hosts.toml as containerd documents it. What it says beside this is not for
// whoever pulls.
type hosts struct {
	host                   // of the server
	Server string          `toml:"server"`
	Host   map[string]host `toml:"host"` // by URL
}

type host struct {
	Capabilities []string       `toml:"capabilities"` // pull, resolve, push; none: all
	CA           any            `toml:"ca"`           // a file, or several
	Client       any            `toml:"client"`       // a file with both, several, or pairs of certificate and key
	SkipVerify   bool           `toml:"skip_verify"`
	OverridePath bool           `toml:"override_path"` // the URL's path has all that stands before an image's name
	Header       map[string]any `toml:"header"`
}

// folders are where a registry's hosts.toml may be, as containerd looks for it.
func folders(registry string) []string {
	if host, port, ok := strings.Cut(registry, ":"); ok {
		return []string{registry, host + "_" + port + "_", "_default"}
	}
	return []string{registry, "_default"}
}

// readHosts gives the endpoints of a registry that has a hosts.toml: its hosts in the file's order,
// then the server.
func readHosts(dir, registry string) (endpoints []Endpoint, found bool, err error) {
	if dir == "" || strings.ContainsAny(registry, "/\\") || strings.HasPrefix(registry, ".") {
		return nil, false, nil
	}
	for _, folder := range folders(registry) {
		name := filepath.Join(dir, folder, "hosts.toml")
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, true, fmt.Errorf("reading the hosts of %s: %w", registry, err)
		}
		if endpoints, err = parseHosts(string(text), filepath.Dir(name), registry); err != nil {
			return nil, true, fmt.Errorf("%s: %w", name, err)
		}
		return endpoints, true, nil
	}
	return nil, false, nil
}

func parseHosts(text, dir, registry string) ([]Endpoint, error) {
	var h hosts
	meta, err := toml.Decode(text, &h)
	if err != nil {
		return nil, err
	}
	var endpoints []Endpoint
	seen := map[string]bool{}
	for _, key := range meta.Keys() { // in the file's order
		if len(key) < 2 || key[0] != "host" || seen[key[1]] {
			continue
		}
		seen[key[1]] = true
		one := h.Host[key[1]]
		e, err := one.endpoint(key[1], dir)
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", key[1], err)
		}
		e.Mirror = true
		endpoints = append(endpoints, e)
	}
	server := h.Server
	if server == "" {
		server = registry
		if registry == "docker.io" {
			server = "registry-1.docker.io"
		}
	}
	e, err := h.host.endpoint(server, dir)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", server, err)
	}
	e.Mirror = h.Server != "" && e.Host != registry && !(registry == "docker.io" && strings.HasSuffix(e.Host, ".docker.io"))
	return append(endpoints, e), nil
}

func (h *host) endpoint(url, dir string) (Endpoint, error) {
	e, err := parse(url, h.OverridePath)
	if err != nil {
		return e, err
	}
	if len(h.Capabilities) > 0 {
		for _, c := range h.Capabilities {
			if c != "pull" && c != "resolve" && c != "push" {
				return e, fmt.Errorf("unknown capability %q", c)
			}
		}
		e.Pull, e.Resolve = slices.Contains(h.Capabilities, "pull"), slices.Contains(h.Capabilities, "resolve")
	}
	cas, err := texts("ca", h.CA)
	if err != nil {
		return e, err
	}
	for i := range cas {
		cas[i] = within(dir, cas[i])
	}
	pairs, err := clients(h.Client, dir)
	if err != nil {
		return e, err
	}
	if e.TLS, err = secured(cas, pairs, h.SkipVerify); err != nil {
		return e, err
	}
	for name, value := range h.Header {
		lines, err := texts("header", value)
		if err != nil {
			return e, err
		}
		if e.Header == nil {
			e.Header = http.Header{}
		}
		for _, line := range lines {
			e.Header.Add(name, line)
		}
	}
	return e, nil
}

// texts reads a text or a list of them.
func texts(what string, value any) ([]string, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		out := make([]string, 0, len(v))
		for _, one := range v {
			text, ok := one.(string)
			if !ok {
				return nil, fmt.Errorf("%s: %v is no text", what, one)
			}
			out = append(out, text)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%s: %v is neither a text nor a list of them", what, value)
}

// clients reads client certificates: a file, a list of files, or a list of pairs.
func clients(value any, dir string) ([][2]string, error) {
	list, ok := value.([]any)
	if !ok {
		files, err := texts("client", value)
		if err != nil || len(files) == 0 {
			return nil, err
		}
		return [][2]string{{within(dir, files[0])}}, nil
	}
	var pairs [][2]string
	for _, one := range list {
		files, err := texts("client", one)
		if err != nil {
			return nil, err
		}
		switch len(files) {
		case 1:
			pairs = append(pairs, [2]string{within(dir, files[0])})
		case 2:
			pair := [2]string{within(dir, files[0])}
			if files[1] != "" {
				pair[1] = within(dir, files[1])
			}
			pairs = append(pairs, pair)
		default:
			return nil, fmt.Errorf("client: %v is no pair of a certificate and a key", one)
		}
	}
	return pairs, nil
}

func within(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
