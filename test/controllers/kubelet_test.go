package controllers

import "testing"

func TestWhereAPodGoes(t *testing.T) {
	t.Parallel()
	node := func(name, more string) Object {
		return yamlDoc("{metadata: {name: " + name + ", labels: {of: s}}" + more + "}")
	}
	tainted := ", spec: {taints: [{key: k, value: v, effect: NoSchedule}]}"
	for name, c := range map[string]struct {
		pod   string
		nodes []Object
		load  map[string]int
		want  string
	}{
		"to the first of equals":                {"spec: {}", []Object{node("a", ""), node("b", "")}, nil, "a"},
		"to the one with fewer pods":            {"spec: {}", []Object{node("a", ""), node("b", "")}, map[string]int{"a": 1}, "b"},
		"to one that is selected":               {"spec: {nodeSelector: {of: other}}", []Object{node("a", "")}, nil, ""},
		"to the one that its affinity names":    {"spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [b]}]}]}}}}", []Object{node("a", ""), node("b", "")}, nil, "b"},
		"not where a taint is against it":       {"spec: {}", []Object{node("a", tainted), node("b", "")}, map[string]int{"b": 9}, "b"},
		"where it tolerates the taint":          {"spec: {tolerations: [{key: k, operator: Exists}]}", []Object{node("a", tainted)}, nil, "a"},
		"not if it tolerates another value":     {"spec: {tolerations: [{key: k, value: w}]}", []Object{node("a", tainted)}, nil, ""},
		"a taint that only prefers hinders not": {"spec: {}", []Object{node("a", ", spec: {taints: [{key: k, effect: PreferNoSchedule}]}")}, nil, "a"},
		"nowhere while it is gated":             {"spec: {schedulingGates: [{name: x}]}", []Object{node("a", "")}, nil, ""},
	} {
		if got := choose(yamlDoc(c.pod), c.nodes, c.load); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
