package test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// rules says who may import what. The linker's cost and the architecture hang on
// them; each has its reason.
var rules = []struct {
	reason string
	// breaks tells whether a file in dir (slash-separated, from the top) must not
	// import path. test tells that it is a _test.go file.
	breaks func(dir, path string, test bool) bool
}{
	{"services share nothing but messages: what two of them need lives in proto", func(dir, path string, _ bool) bool {
		own, ok := service(dir)
		other, ok2 := service(strings.TrimPrefix(path, "kubus.dev/"))
		return ok && ok2 && strings.HasPrefix(path, "kubus.dev/services/") && other != own && other != "kit"
	}},
	{"the gateway is reached by the API, never linked into a service", func(dir, path string, _ bool) bool {
		return strings.HasPrefix(dir, "services/") && within(path, "kubus.dev/gateway")
	}},
	{"the gateway does not know the services", func(dir, path string, _ bool) bool {
		return within(dir, "gateway") && strings.HasPrefix(path, "kubus.dev/services/") && !within(path, "kubus.dev/services/kit")
	}},
	{"package bus is the one place that knows nats.go", func(dir, path string, test bool) bool {
		return within(path, "github.com/nats-io/nats.go") && !within(dir, "proto/bus") && !within(dir, "examples") && !test
	}},
	{"the examples are other people's programs: they know Kubus from outside", func(dir, path string, test bool) bool {
		return within(dir, "examples") && strings.HasPrefix(path, "kubus.dev/") && !test
	}},
	{"package store is the one place that knows nats-server, tests' servers of several apart", func(dir, path string, test bool) bool {
		return within(path, "github.com/nats-io/nats-server/v2") && !within(dir, "proto/store") && dir != "proto/bustest" && !test
	}},
	{"k8s.io/kubernetes costs 40 MB and minutes of building: only the gateway links it, and the test that has kube-scheduler as its oracle", func(dir, path string, test bool) bool {
		return within(path, "k8s.io/kubernetes") && !within(dir, "gateway") && !within(dir, "bench") && !(within(dir, "test/scheduler") && test)
	}},
	{"client-go's clientsets and informers are for other people's programs; services use views and apiclient", func(dir, path string, test bool) bool {
		return strings.HasPrefix(dir, "services/") && !test &&
			(within(path, "k8s.io/client-go/kubernetes") || within(path, "k8s.io/client-go/informers"))
	}},
	{"upstream's server, generic Store and control plane are what this project replaces", func(_, path string, _ bool) bool {
		return within(path, "k8s.io/apiserver/pkg/server") && path != "k8s.io/apiserver/pkg/server/httplog" && !within(path, "k8s.io/apiserver/pkg/server/filters") &&
			!within(path, "k8s.io/apiserver/pkg/server/storage") && !within(path, "k8s.io/apiserver/pkg/server/resourceconfig") &&
			path != "k8s.io/apiserver/pkg/server/mux" && path != "k8s.io/apiserver/pkg/server/statusz" && path != "k8s.io/apiserver/pkg/server/flagz" ||
			within(path, "k8s.io/kubernetes/pkg/controlplane") || within(path, "k8s.io/kubernetes/pkg/kubelet")
	}},
	{"text/template and html/template stop the linker from dropping methods: 20 MB a binary", func(dir, path string, test bool) bool {
		return (path == "text/template" || path == "html/template") && !test && !within(dir, "test") && !within(dir, "bench")
	}},
	{"a util or common package says nothing: name it by what it does", func(_, path string, _ bool) bool {
		if !strings.HasPrefix(path, "kubus.dev/") {
			return false
		}
		last := path[strings.LastIndexByte(path, '/')+1:]
		return last == "util" || last == "utils" || last == "common" || last == "helpers"
	}},
}

// within tells whether path is root or below it.
func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

func service(dir string) (string, bool) {
	rest, ok := strings.CutPrefix(dir, "services/")
	if !ok {
		return "", false
	}
	name, _, _ := strings.Cut(rest, "/")
	return name, name != "kit"
}

func TestWhoMayImportWhat(t *testing.T) {
	t.Parallel()
	top := ".."
	files := 0
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name != ".." && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		dir, test := filepath.ToSlash(filepath.Dir(rel)), strings.HasSuffix(rel, "_test.go")
		for _, im := range f.Imports {
			imported, err := strconv.Unquote(im.Path.Value)
			if err != nil {
				return err
			}
			for _, r := range rules {
				if r.breaks(dir, imported, test) {
					t.Errorf("%s imports %s, but %s", rel, imported, r.reason)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Errorf("only %d files were looked at: is this the repository?", files)
	}
}

func TestTheImportRulesCatchWhatTheyName(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dir, path string
		breaks    bool
	}{
		"a service that imports another":         {"services/proxy/internal/x", "kubus.dev/services/dns", true},
		"a service that imports itself":          {"services/proxy", "kubus.dev/services/proxy/internal/x", false},
		"a service that imports the kit":         {"services/proxy", "kubus.dev/services/kit", false},
		"a service that imports the gateway":     {"services/proxy", "kubus.dev/gateway", true},
		"the command that imports both":          {"cmd/kubus/internal/roster", "kubus.dev/services/proxy", false},
		"a service that imports nats.go":         {"services/proxy", "github.com/nats-io/nats.go", true},
		"package bus that imports nats.go":       {"proto/bus", "github.com/nats-io/nats.go/jetstream", false},
		"a service that imports k8s.io/api":      {"services/proxy", "k8s.io/api/core/v1", false},
		"a service that imports kubernetes":      {"services/proxy", "k8s.io/kubernetes/pkg/apis/core", true},
		"a service that imports the clientset":   {"services/agent", "k8s.io/client-go/kubernetes", true},
		"a package by the name of util":          {"services/agent", "kubus.dev/services/agent/internal/util", true},
		"the gateway that imports a service":     {"gateway", "kubus.dev/services/agent", true},
		"the gateway that imports upstream's":    {"gateway/internal/x", "k8s.io/apiserver/pkg/server", true},
		"the gateway that imports strategies":    {"gateway/internal/x", "k8s.io/kubernetes/pkg/registry/core/pod", false},
		"an example that imports nats.go":        {"examples/watch-events", "github.com/nats-io/nats.go/jetstream", false},
		"an example that imports our own code":   {"examples/watch-events", "kubus.dev/proto", true},
		"a service that imports a text template": {"services/agent", "text/template", true},
	} {
		breaks := false
		for _, r := range rules {
			breaks = breaks || r.breaks(c.dir, c.path, false)
		}
		if breaks != c.breaks {
			t.Errorf("%s: breaks a rule is %v, want %v", name, breaks, c.breaks)
		}
	}
}
