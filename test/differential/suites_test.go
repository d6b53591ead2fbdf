package differential

import (
	"strings"
	"testing"
)

// everything is kinds of every body, with all verbs.
func everything(t *testing.T) []*Kind {
	t.Helper()
	valid, err := loadBodies("testdata/bodies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []*Kind
	for _, body := range valid {
		gv, _ := body["apiVersion"].(string)
		name, _ := body["kind"].(string)
		group, version, ok := strings.Cut(gv, "/")
		if !ok {
			group, version = "", gv
		}
		out = append(out, &Kind{Group: group, Version: version, Resource: resourceOf(name), Name: name, Namespaced: true, body: body,
			Subresources: map[string][]string{"status": {"get", "patch", "update"}, "scale": {"get"}, "token": {"create"}}})
	}
	return out
}

// resourceOf is the plural of the kinds that scenarios ask for by it, and for the
// others enough to tell names apart.
func resourceOf(kind string) string {
	switch kind {
	case "Pod", "ServiceAccount", "Namespace", "Node", "Service":
		return strings.ToLower(kind) + "s"
	}
	return strings.ToLower(kind)
}

func TestStepsAndScenariosCanBeToldApart(t *testing.T) {
	t.Parallel()
	scenarios := Suites(everything(t), Options{Prefix: "d"})
	if err := unique(scenarios); err != nil {
		t.Error(err)
	}
	steps := 0
	for _, s := range scenarios {
		steps += len(s.Steps)
	}
	t.Logf("%d scenarios, %d steps", len(scenarios), steps)
	if len(scenarios) < 100 || steps < 10000 {
		t.Errorf("only %d scenarios and %d steps are made", len(scenarios), steps)
	}
}

func TestTheSameKindsMakeTheSameScenarios(t *testing.T) {
	t.Parallel()
	kinds := everything(t)
	one, two := Suites(kinds, Options{Prefix: "d"}), Suites(kinds, Options{Prefix: "d"})
	for i, s := range one {
		for j := range s.Steps {
			a, b := &s.Steps[j], &two[i].Steps[j]
			if a.Name != b.Name || a.Path != b.Path || string(a.Body) != string(b.Body) {
				t.Fatalf("%s, step %d: %q once and %q then, %s and %s", s.Name, j, a.Name, b.Name, a.Body, b.Body)
			}
		}
	}
}
