package rule_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"kubus.dev/services/proxy/internal/rule"
	"kubus.dev/services/proxy/internal/service"
)

var update = flag.Bool("update", false, "write the rules that come out into testdata")

// A script is a story: "N.apply" holds objects, "N.delete" names some, and
// "N.rules" is the restore input of that step, which may be empty.
func TestRulesOfTheScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { runScript(t, path) })
	}
}

func options() rule.Options {
	return rule.Options{
		Prefix: rule.Prefix("test"), MarkBit: 14, Affinity: true,
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		PodCIDR:      netip.MustParsePrefix("10.244.0.0/16"),
	}
}

const node = "here"

func runScript(t *testing.T, path string) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	opts := options()
	table, set, hooks := service.NewTable(), rule.NewSet(opts, nil), opts.Hooks()
	first := true
	for i := range archive.Files {
		file := &archive.Files[i]
		switch _, kind, _ := strings.Cut(file.Name, "."); kind {
		case "apply":
			apply(t, table, file.Data)
		case "delete":
			remove(t, table, string(file.Data))
		case "rules":
			got := step(table, set, hooks)
			hooks = nil
			if first {
				got = withoutBase(t, got)
				first = false
			}
			if *update {
				file.Data = got
			} else if !bytes.Equal(got, file.Data) {
				t.Errorf("%s: got\n%s\nwant\n%s", file.Name, got, file.Data)
			}
		default:
			t.Fatalf("%s: unknown kind of section", file.Name)
		}
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func step(table *service.Table, set *rule.Set, hooks []rule.Hook) []byte {
	for _, name := range table.TakeDirty() {
		set.Put(name, table.Ports(name, node, &service.Guard{}))
	}
	out, _ := set.Delta(hooks)
	set.Commit()
	return out
}

// withoutBase leaves out of a complete input the lines that stand in every one,
// so that a script shows its own; testdata/base.txtar shows them.
func withoutBase(t *testing.T, got []byte) []byte {
	if strings.HasSuffix(t.Name(), "/base") {
		return got
	}
	opts := options()
	base, _ := rule.NewSet(opts, nil).Delta(opts.Hooks())
	common := slices.Collect(strings.Lines(string(base)))
	var out strings.Builder
	for line := range strings.Lines(string(got)) {
		if strings.HasPrefix(line, "*") || line == "COMMIT\n" || !slices.Contains(common, line) {
			out.WriteString(line)
		}
	}
	return []byte(out.String())
}

func apply(t *testing.T, table *service.Table, data []byte) {
	t.Helper()
	for _, doc := range bytes.Split(data, []byte("\n---\n")) {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		switch kind.Kind {
		case "Service":
			var obj corev1.Service
			if err := yaml.UnmarshalStrict(doc, &obj); err != nil {
				t.Fatal(err)
			}
			table.SetService(service.Name{Namespace: obj.Namespace, Name: obj.Name}, service.FromObject(&obj))
		case "EndpointSlice":
			var obj discoveryv1.EndpointSlice
			if err := yaml.UnmarshalStrict(doc, &obj); err != nil {
				t.Fatal(err)
			}
			table.SetSlice(service.Name{Namespace: obj.Namespace, Name: obj.Name}, service.FromSliceObject(&obj))
		default:
			t.Fatalf("kind %q in\n%s", kind.Kind, doc)
		}
	}
}

func remove(t *testing.T, table *service.Table, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		var kind, ns, name string
		if _, err := fmt.Sscanf(strings.ReplaceAll(line, "/", " "), "%s %s %s", &kind, &ns, &name); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch kind {
		case "Service":
			table.SetService(service.Name{Namespace: ns, Name: name}, nil)
		case "EndpointSlice":
			table.SetSlice(service.Name{Namespace: ns, Name: name}, nil)
		default:
			t.Fatalf("%q: unknown kind", line)
		}
	}
}
