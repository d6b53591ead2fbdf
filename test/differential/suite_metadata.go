package differential

import "strings"

// metadata tries what all objects have in common.
func metadata(s *story) {
	dry := s.collection() + "?dryRun=All"
	for _, name := range []string{"", "UPPER", "under_score", "dot.name", "-dash", "dash-", ".", "..", "a/b", "a%b", "a b", "ä", strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 253), strings.Repeat("a", 254), "1", "a..b", "a:b", "system:x"} {
		s.vary("name "+name, dry, s.base, func(o any) any { meta(o.(map[string]any))["name"] = name; return o })
	}
	owner := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "11111111-2222-3333-4444-555555555555"}
	with := func(base map[string]any, changes ...any) map[string]any {
		out := clone(base)
		for i := 0; i < len(changes); i += 2 {
			if changes[i+1] == nil {
				delete(out, changes[i].(string))
				continue
			}
			out[changes[i].(string)] = changes[i+1]
		}
		return out
	}
	long := strings.Repeat("a", 64)
	for _, c := range []struct {
		name, field string
		value       any
	}{
		{"a label", "labels", map[string]any{"a.example.com/b": "c"}},
		{"an empty label", "labels", map[string]any{"a": ""}},
		{"a label without key", "labels", map[string]any{"": "v"}},
		{"a label of a bad key", "labels", map[string]any{"a b": "v"}},
		{"a label of two slashes", "labels", map[string]any{"a/b/c": "v"}},
		{"a label of a bad prefix", "labels", map[string]any{"A_/b": "v"}},
		{"a label of a bad value", "labels", map[string]any{"a": "-v"}},
		{"a label of a long value", "labels", map[string]any{"a": long}},
		{"a label of a long key", "labels", map[string]any{long: "v"}},
		{"a label of a number", "labels", map[string]any{"a": 1}},
		{"a label of null", "labels", map[string]any{"a": nil}},
		{"labels as a list", "labels", []any{}},
		{"an annotation", "annotations", map[string]any{"a.example.com/b": "c d"}},
		{"an annotation of a bad key", "annotations", map[string]any{"a b": "v"}},
		{"an annotation of an upper key", "annotations", map[string]any{"EXAMPLE.com/B": "v"}},
		{"large annotations", "annotations", map[string]any{"a": strings.Repeat("x", 256<<10)}},
		{"a finalizer", "finalizers", []any{"example.com/f"}},
		{"a finalizer without domain", "finalizers", []any{"f"}},
		{"a standard finalizer", "finalizers", []any{"orphan"}},
		{"two standard finalizers", "finalizers", []any{"orphan", "foregroundDeletion"}},
		{"an empty finalizer", "finalizers", []any{""}},
		{"a finalizer twice", "finalizers", []any{"example.com/f", "example.com/f"}},
		{"an owner", "ownerReferences", []any{owner}},
		{"an owner without kind", "ownerReferences", []any{with(owner, "kind", nil)}},
		{"an owner without name", "ownerReferences", []any{with(owner, "name", nil)}},
		{"an owner without uid", "ownerReferences", []any{with(owner, "uid", nil)}},
		{"an owner without version", "ownerReferences", []any{with(owner, "apiVersion", nil)}},
		{"an owner of a bad version", "ownerReferences", []any{with(owner, "apiVersion", "a/b/c")}},
		{"an owner that cannot own", "ownerReferences", []any{with(owner, "kind", "Event")}},
		{"an owner twice", "ownerReferences", []any{owner, owner}},
		{"two controllers", "ownerReferences", []any{with(owner, "controller", true), with(owner, "controller", true, "name", "p", "uid", "x")}},
		{"a blocking owner", "ownerReferences", []any{with(owner, "blockOwnerDeletion", true, "controller", true)}},
		{"a uid", "uid", "11111111-2222-3333-4444-555555555555"},
		{"a version", "resourceVersion", "1"},
		{"a version of 0", "resourceVersion", "0"},
		{"a creation time", "creationTimestamp", "2001-01-01T00:00:00Z"},
		{"a creation time that is none", "creationTimestamp", "yesterday"},
		{"a deletion time", "deletionTimestamp", "2001-01-01T00:00:00Z"},
		{"a grace period", "deletionGracePeriodSeconds", 5},
		{"a generation", "generation", 7},
		{"a negative generation", "generation", -7},
		{"a self link", "selfLink", "/x"},
		{"managed fields", "managedFields", []any{map[string]any{"manager": "m", "operation": "Update", "apiVersion": s.k.APIVersion(), "time": "2001-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{"f:metadata": map[string]any{}}}}},
		{"bad managed fields", "managedFields", []any{map[string]any{"manager": "m", "operation": "Other"}}},
		{"managed fields of a bad type", "managedFields", []any{map[string]any{"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "X"}}},
		{"another namespace", "namespace", "other"},
		{"the empty namespace", "namespace", ""},
		{"a bad namespace", "namespace", "No Space"},
	} {
		s.vary(c.name, dry, s.base, func(o any) any { meta(o.(map[string]any))[c.field] = c.value; return o })
	}
	s.vary("no metadata", dry, s.base, func(o any) any { delete(o.(map[string]any), "metadata"); return o })
	s.vary("a name to generate", s.collection(), s.base, func(o any) any {
		meta(o.(map[string]any))["generateName"] = s.base + "-g-"
		delete(meta(o.(map[string]any)), "name")
		return o
	})
	s.Steps[len(s.Steps)-1].Generates = s.base + "-g-"
	for _, c := range []struct {
		step, name, base string
	}{
		{"a name to generate, dry", "", s.base + "-g-"}, {"a name and one to generate", "x", "other-"},
		{"a bad name to generate", "", "BAD_"}, {"a long name to generate", "", strings.Repeat("a", 260)},
	} {
		obj := s.object(s.base)
		meta(obj)["name"], meta(obj)["generateName"] = c.name, c.base
		s.add(Step{Name: c.step, Method: "POST", Path: dry, Header: jsonBody(), Body: encode(obj), Generates: c.base})
	}
	s.create("create", s.base)
	changes := map[string]func(map[string]any){
		"add a finalizer":    func(o map[string]any) { meta(o)["finalizers"] = []any{"example.com/f"} },
		"add a bad label":    func(o map[string]any) { meta(o)["labels"] = map[string]any{"a": "-"} },
		"add an owner":       func(o map[string]any) { meta(o)["ownerReferences"] = []any{owner} },
		"add a bad owner":    func(o map[string]any) { meta(o)["ownerReferences"] = []any{map[string]any{}} },
		"set generateName":   func(o map[string]any) { meta(o)["generateName"] = "x-" },
		"remove the labels":  func(o map[string]any) { delete(meta(o), "labels") },
		"set a grace period": func(o map[string]any) { meta(o)["deletionGracePeriodSeconds"] = 3 },
	}
	for _, name := range inOrder(changes) {
		s.edit("update: "+name, s.path(s.base)+"?dryRun=All", s.base, changes[name])
	}
}
