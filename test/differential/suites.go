package differential

import (
	"regexp"
	"strings"
)

// Options choose what is played.
type Options struct {
	// Prefix begins the names of all namespaces and objects, so that one pair of
	// servers can be asked several times.
	Prefix string
	// Schemas are upstream's; nil leaves out what needs them.
	Schemas *Schemas
	// Seed and Samples choose the random variations: how many for each kind.
	Seed    uint64
	Samples int
	// Only keeps the scenarios whose name it matches; nil keeps all.
	Only *regexp.Regexp
}

// Suites makes the scenarios.
func Suites(kinds []*Kind, o Options) []*Scenario {
	all := append(global(o), discoveryOf(kinds, o)...)
	for _, k := range kinds {
		for _, suite := range []struct {
			name string
			tell func(*story)
		}{
			{"lifecycle", lifecycle}, {"formats", formats}, {"bodies", bodies}, {"metadata", metadata}, {"options", options},
			{"patches", patches}, {"apply", applies}, {"lists", lists}, {"watches", watches}, {"deletes", deletes},
			{"subresources", subresources}, {"users", usersOf},
		} {
			s := newStory(suite.name, k, o)
			suite.tell(s)
			all = append(all, s.Scenario)
		}
		if o.Schemas != nil {
			s := newStory("schema", k, o)
			o.Schemas.vary(s, o)
			all = append(all, s.Scenario)
		}
	}
	if o.Only == nil {
		return all
	}
	var kept []*Scenario
	for _, s := range all {
		if o.Only.MatchString(s.Name) {
			kept = append(kept, s)
		}
	}
	return kept
}

// story is a scenario about one kind.
type story struct {
	*Scenario
	k  *Kind
	ns string // "" for kinds without namespace
	// base is what objects' names begin with, slug a name that no other scenario has.
	base, slug string
}

// newStory begins a scenario: of a kind with namespaces, in one of its own, where
// pods can be.
func newStory(suite string, k *Kind, o Options) *story {
	slug := o.Prefix + "-" + suite + "-" + strings.NewReplacer(".", "-", ":", "-").Replace(k.Title())
	if len(slug) > 60 {
		slug = slug[:60]
	}
	s := &story{Scenario: &Scenario{Name: suite + "/" + k.Title()}, k: k, base: slug, slug: slug}
	if k.Namespaced {
		s.ns, s.base = slug, "a"
		s.send("a namespace", "POST", "/api/v1/namespaces", map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": slug}})
		s.send("its service account", "POST", "/api/v1/namespaces/"+slug+"/serviceaccounts",
			map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "default"}})
	}
	return s
}

func (s *story) collection() string { return s.k.Path(s.ns) }

func (s *story) path(name string) string { return s.collection() + "/" + s.k.ObjectName(name) }

func (s *story) object(name string) map[string]any { return s.k.Object(s.ns, name) }

// labelled is an object with labels.
func (s *story) labelled(name string, labels map[string]any) map[string]any {
	obj := s.object(name)
	obj["metadata"].(map[string]any)["labels"] = labels
	return obj
}

func (s *story) create(step, name string) { s.send(step, "POST", s.collection(), s.object(name)) }

// edit sends what the side showed of an object, changed.
func (s *story) edit(step, path, name string, change func(obj map[string]any)) {
	shown := s.k.ObjectName(name)
	s.add(Step{Name: step, Method: "PUT", Path: path, Header: jsonBody(), Edit: func(seen *Seen) []byte {
		obj := seen.Object(shown)
		if obj == nil {
			return []byte("{}")
		}
		change(obj)
		return encode(obj)
	}})
}

// meta gives an object's metadata to change.
func meta(obj map[string]any) map[string]any {
	m, ok := obj["metadata"].(map[string]any)
	if !ok {
		m = map[string]any{}
		obj["metadata"] = m
	}
	return m
}

func relabel(value string) func(map[string]any) {
	return func(obj map[string]any) {
		labels, _ := meta(obj)["labels"].(map[string]any)
		if labels == nil {
			labels = map[string]any{}
		}
		labels["changed"] = value
		meta(obj)["labels"] = labels
	}
}
