package admission

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// upstreamOnly are upstream's plugins that are not offered: each is deprecated, or
// has been replaced by one that is.
var upstreamOnly = []string{
	"AlwaysAdmit", "AlwaysDeny", "ImagePolicyWebhook", "LimitPodHardAntiAffinityTopology", "NamespaceAutoProvision", "NamespaceExists",
}

// The chain is upstream's: the same plugins, in the same order, on by default.
func TestTheChainIsUpstreams(t *testing.T) {
	t.Parallel()
	ordered, on := upstream(t)
	ordered = slices.DeleteFunc(ordered, func(name string) bool { return slices.Contains(upstreamOnly, name) })
	var ours, oursOn []string
	for _, p := range chain {
		ours = append(ours, p.name)
		if p.on {
			oursOn = append(oursOn, p.name)
		}
	}
	if !slices.Equal(ours, ordered) {
		t.Errorf("got  %v\nwant %v", ours, ordered)
	}
	// Upstream's installers turn it on; a node is otherwise any other user.
	on = append(on, "NodeRestriction")
	slices.Sort(oursOn)
	slices.Sort(on)
	if !slices.Equal(oursOn, on) {
		t.Errorf("on by default: got  %v\nwant %v", oursOn, on)
	}
}

// upstream reads the names of AllOrderedPlugins and of the set inside
// DefaultOffAdmissionPlugins from upstream's source, where each has its name behind
// it. The package itself would link all of kube-apiserver.
func upstream(t *testing.T) (ordered, on []string) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "k8s.io/kubernetes/pkg/kubeapiserver/options").Output()
	if err != nil {
		t.Fatalf("finding upstream's source: %v", err)
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, filepath.Join(strings.TrimSpace(string(dir)), "plugins.go"), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[int]string{}
	for _, group := range file.Comments {
		for _, c := range group.List {
			name := strings.TrimPrefix(strings.TrimPrefix(c.Text, "//"), " ")
			name, _, _ = strings.Cut(name, ",")
			comments[files.Position(c.Pos()).Line] = strings.Fields(name + " .")[0]
		}
	}
	names := func(list []ast.Expr) (out []string) {
		for _, e := range list {
			out = append(out, comments[files.Position(e.Pos()).Line])
		}
		return out
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			if n.Names[0].Name == "AllOrderedPlugins" {
				ordered = names(n.Values[0].(*ast.CompositeLit).Elts)
			}
		case *ast.AssignStmt:
			if id, ok := n.Lhs[0].(*ast.Ident); ok && id.Name == "defaultOnPlugins" {
				on = names(n.Rhs[0].(*ast.CallExpr).Args)
			}
		}
		return true
	})
	// Upstream's comments write two names in another way than the constants.
	for _, list := range [][]string{ordered, on} {
		for i, name := range list {
			if name == "Mutatingadmissionpolicy" {
				list[i] = "MutatingAdmissionPolicy"
			}
		}
	}
	if len(ordered) < 30 || len(on) < 20 {
		t.Fatalf("upstream's list was not understood: %v, %v", ordered, on)
	}
	return ordered, on
}

func TestTheConfigurationChoosesPlugins(t *testing.T) {
	t.Parallel()
	names, err := Config{Enable: []string{"AlwaysPullImages"}, Disable: []string{"PodSecurity"}}.names()
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.Index(names, "AlwaysPullImages"); i < 0 || names[i-1] != "TaintNodesByCondition" || slices.Contains(names, "PodSecurity") {
		t.Errorf("got %v", names)
	}
	err = Config{Enable: []string{"Nonsense", "PodSecurity"}, Disable: []string{"PodSecurity"}}.Validate()
	for _, want := range []string{`there is no plugin "Nonsense"`, `plugin "PodSecurity" is enabled and disabled`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
