package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// files writes files below a folder of the test and gives the settings that name them.
func files(t *testing.T, content map[string]string) Settings {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Settings{File: filepath.Join(dir, "registries.yaml"), Dir: filepath.Join(dir, "certs.d")}
}

// show writes endpoints as a test expects them: "http://host:1/prefix mirror resolve user".
func show(endpoints []Endpoint) string {
	var out []string
	for _, e := range endpoints {
		text := e.Host + e.Prefix
		if e.Scheme != "" {
			text = e.Scheme + "://" + text
		}
		if e.Mirror {
			text += " mirror"
		}
		if !e.Pull {
			text += " no-pull"
		}
		if !e.Resolve {
			text += " no-resolve"
		}
		if e.Auth != nil {
			text += " as " + e.Auth.Username
		}
		if e.TLS != nil && e.TLS.InsecureSkipVerify {
			text += " unverified"
		}
		if len(e.Header) > 0 {
			text += fmt.Sprint(" ", e.Header)
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func TestWhoIsAskedForTheImagesOfARegistry(t *testing.T) {
	t.Parallel()
	const mirrors = `
mirrors:
  docker.io: {endpoint: ["https://one.example", "http://two.example:5000/cache"]}
  quay.io: {endpoint: [three.example/v2]}
  "*": {endpoint: ["localhost:5000"]}
configs:
  one.example: {auth: {username: ann, password: secret}}
  quay.io: {auth: {auth: Ym9iOnNlY3JldA==}, tls: {insecure_skip_verify: true}}
`
	const hosts = `
server = "https://origin.example"
capabilities = ["pull"]
[host."https://first.example/a"]
  capabilities = ["resolve"]
[host."http://second.example/b/c"]
  override_path = true
  skip_verify = true
  [host."http://second.example/b/c".header]
    x-who = ["we", "you"]
`
	for name, c := range map[string]struct {
		files    map[string]string
		registry string
		want     string
	}{
		"without files the registry itself": {nil, "quay.io", "quay.io"},
		"an empty file says nothing":        {map[string]string{"registries.yaml": ""}, "quay.io", "quay.io"},
		"mirrors come first, then the registry": {map[string]string{"registries.yaml": mirrors}, "index.docker.io",
			"https://one.example mirror as ann, http://two.example:5000/cache/v2 mirror, index.docker.io"},
		"what is set for the registry itself counts": {map[string]string{"registries.yaml": mirrors}, "quay.io",
			"https://three.example mirror, quay.io as bob unverified"},
		"a star is every other registry": {map[string]string{"registries.yaml": mirrors}, "ghcr.io",
			"http://localhost:5000 mirror, ghcr.io"},
		"hosts in the order of the file, then the server": {map[string]string{"certs.d/quay.io/hosts.toml": hosts}, "quay.io",
			"https://first.example/a/v2 mirror no-pull, http://second.example/b/c mirror unverified map[X-Who:[we you]], https://origin.example mirror no-resolve"},
		"a registry's folder may say its port in a way that every file system takes": {map[string]string{"certs.d/r.example_5000_/hosts.toml": hosts}, "r.example:5000",
			"https://first.example/a/v2 mirror no-pull, http://second.example/b/c mirror unverified map[X-Who:[we you]], https://origin.example mirror no-resolve"},
		"a folder for all others": {map[string]string{"certs.d/_default/hosts.toml": `[host."https://cache.example"]`}, "index.docker.io",
			"https://cache.example mirror, https://registry-1.docker.io"},
		"a folder counts before the file, whose logins count for both": {map[string]string{
			"registries.yaml":              mirrors,
			"certs.d/docker.io/hosts.toml": `[host."https://one.example"]`,
		}, "index.docker.io", "https://one.example mirror as ann, https://registry-1.docker.io"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoints, err := files(t, c.files).Endpoints(c.registry)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(endpoints); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestAnEndpointHasItsOwnPathsAndNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		url      string
		override bool
		want     string
	}{
		{"https://m.example", false, "/v2/a/manifests/1"},
		{"https://m.example/v2", false, "/v2/a/manifests/1"},
		{"https://m.example/cache", false, "/cache/v2/a/manifests/1"},
		{"https://m.example/cache/v2/", false, "/cache/v2/a/manifests/1"},
		{"https://m.example/v2/cache", true, "/v2/cache/a/manifests/1"},
	} {
		e, err := parse(c.url, c.override)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Path("/v2/a/manifests/1"); got != c.want {
			t.Errorf("%s: %s, want %s", c.url, got, c.want)
		}
		if got := e.Path("/token"); got != "/token" {
			t.Errorf("%s: /token became %s", c.url, got)
		}
	}
	endpoints, err := files(t, map[string]string{"registries.yaml": `mirrors: {docker.io: {endpoint: [m.example], rewrite: {"^library/(.*)": "hub/$1"}}}`}).Endpoints("index.docker.io")
	if err != nil {
		t.Fatal(err)
	}
	if got := endpoints[0].Repository("library/busybox"); got != "hub/busybox" {
		t.Errorf("library/busybox became %s", got)
	}
	if got := endpoints[1].Repository("library/busybox"); got != "library/busybox" {
		t.Errorf("at the registry itself library/busybox became %s", got)
	}
}

func TestSettingsThatCannotBeUnderstoodAskNobody(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, text, want string }{
		"no YAML":                   {"registries.yaml", "mirrors: [", "registries.yaml"},
		"an unknown key":            {"registries.yaml", "mirror: {}", "field mirror not found"},
		"an endpoint that is none":  {"registries.yaml", `mirrors: {"*": {endpoint: ["ftp://m.example"]}}`, `"ftp://m.example" must be http:// or https://`},
		"a login within a URL":      {"registries.yaml", `mirrors: {"*": {endpoint: ["https://me:secret@m.example"]}}`, "with a host, a port and a path at most"},
		"a pattern that is none":    {"registries.yaml", `mirrors: {"*": {endpoint: [m.example], rewrite: {"(": a}}}`, "missing closing )"},
		"patterns without an order": {"registries.yaml", `mirrors: {"*": {endpoint: [m.example], rewrite: {a: b, c: d}}}`, "only one pattern is allowed"},
		"a CA that is not there":    {"registries.yaml", `configs: {quay.io: {tls: {ca_file: /absent}}}`, "/absent: no such file"},
		"a login that is none":      {"registries.yaml", `configs: {quay.io: {auth: {auth: "%%%"}}}`, "auth is not the base64 of username:password"},
		"no TOML":                   {"certs.d/quay.io/hosts.toml", "[host", "hosts.toml"},
		"an unknown capability":     {"certs.d/quay.io/hosts.toml", "[host.\"https://m.example\"]\ncapabilities = [\"push\", \"drink\"]", `unknown capability "drink"`},
		"a client that is none":     {"certs.d/quay.io/hosts.toml", "[host.\"https://m.example\"]\nclient = [[\"a\", \"b\", \"c\"]]", "no pair of a certificate and a key"},
		"a header that is none":     {"certs.d/quay.io/hosts.toml", "[host.\"https://m.example\".header]\nx = 1", "neither a text nor a list"},
		"a CA without certificates": {"certs.d/quay.io/hosts.toml", "ca = \"hosts.toml\"", "has no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoints, err := files(t, map[string]string{c.file: c.text}).Endpoints("quay.io")
			if err == nil || !strings.Contains(err.Error(), c.want) || len(endpoints) > 0 {
				t.Errorf("%v, %v, want %q", endpoints, err, c.want)
			}
		})
	}
}
