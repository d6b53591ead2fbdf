package differential

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// inOrder gives the keys of a map, sorted: scenarios are the same each time.
func inOrder[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// bodies creates an object with each of its fields wrong in turn, without storing
// any, and then updates one so.
func bodies(s *story) {
	a := s.base
	dry := s.collection() + "?dryRun=All"
	paths := fieldsOf(s.object(a))
	for _, p := range paths {
		s.vary("without "+p.String(), dry, a, func(o any) any { return p.remove(o) })
		for _, w := range wrongFor(p.value) {
			s.vary("with "+p.String()+" as "+w.name, dry, a, func(o any) any { return p.set(o, w.value) })
		}
	}
	for _, mode := range []string{"Strict", "Warn", "Ignore"} {
		for _, level := range []string{"", "metadata.", "spec."} {
			obj := s.object(a)
			target := obj
			if level != "" {
				if target, _ = obj[strings.TrimSuffix(level, ".")].(map[string]any); target == nil {
					continue
				}
			}
			target["unknownField"] = 1
			s.send("an unknown field "+level+" "+mode, "POST", dry+"&fieldValidation="+mode, obj)
		}
		text := string(encode(s.object(a)))
		s.send("a field twice "+mode, "POST", dry+"&fieldValidation="+mode, `{"kind":"`+s.k.Name+`",`+text[1:])
		s.send("metadata twice "+mode, "POST", dry+"&fieldValidation="+mode, `{"metadata":{"name":"first"},`+text[1:])
		s.send("a field of another case "+mode, "POST", dry+"&fieldValidation="+mode, strings.Replace(text, `"metadata"`, `"Metadata"`, 1))
		s.add(Step{Name: "yaml with a field twice " + mode, Method: "POST", Path: dry + "&fieldValidation=" + mode, Header: map[string]string{"Content-Type": yamlType},
			Body: []byte("kind: " + s.k.Name + "\n" + string(forms(s.object(a))["yaml"]))})
	}
	odd := map[string]string{
		"nothing": "", "null": "null", "a number": "1", "a list": "[]", "a text": `"x"`, "an empty object": "{}", "half a document": `{"kind":`, "two documents": `{}{}`,
		"a list of its kind": fmt.Sprintf(`{"kind":%q,"apiVersion":%q,"items":[]}`, s.k.Name+"List", s.k.APIVersion()), "another kind": `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"x"}}`,
		"a kind nobody knows": `{"kind":"Nothing","apiVersion":"v1"}`, "a version nobody knows": fmt.Sprintf(`{"kind":%q,"apiVersion":"x/v9"}`, s.k.Name), "no kind": `{"metadata":{"name":"a"}}`,
		"deep": strings.Repeat(`{"a":`, 11000) + "1" + strings.Repeat("}", 11000), "control characters": "{\"kind\":\"a\x01\"}", "invalid utf-8": "{\"kind\":\"\xff\xfe\"}",
		"a long number": `{"metadata":{"generation":123456789012345678901234567890}}`, "a float": fmt.Sprintf(`{"kind":%q,"apiVersion":%q,"metadata":{"name":"a","generation":1.5}}`, s.k.Name, s.k.APIVersion()),
	}
	for _, name := range inOrder(odd) {
		s.send("a body of "+name, "POST", dry, odd[name])
	}
	s.create("create", a)
	for _, p := range paths {
		if p.String() == "apiVersion" || p.String() == "kind" {
			continue
		}
		for _, w := range slices.Concat([]wrong{{"removed", nil}}, othersFor(p.value)) {
			s.edit("update "+p.String()+" to "+w.name, s.path(a)+"?dryRun=All", a, func(o map[string]any) {
				if w.name == "removed" {
					p.remove(o)
					return
				}
				p.set(o, w.value)
			})
		}
	}
}

// vary creates a changed object.
func (s *story) vary(step, path, name string, change func(any) any) {
	s.send(step, "POST", path, change(s.object(name)))
}

// field is a place in a document with what is there.
type field struct {
	path  []any // names and positions
	value any
}

func (f field) String() string {
	out := ""
	for _, p := range f.path {
		switch p := p.(type) {
		case int:
			out += fmt.Sprintf("[%d]", p)
		default:
			if out != "" {
				out += "."
			}
			out += fmt.Sprint(p)
		}
	}
	return out
}

// fieldsOf lists all places of a document, in order, those above before those below.
func fieldsOf(doc any) []field {
	var out []field
	var walk func(path []any, v any)
	walk = func(path []any, v any) {
		if len(path) > 0 {
			out = append(out, field{slices.Clone(path), v})
		}
		switch v := v.(type) {
		case map[string]any:
			for _, k := range keys(v) {
				walk(append(path, k), v[k])
			}
		case []any:
			for i := range v {
				walk(append(path, i), v[i])
			}
		}
	}
	walk(nil, doc)
	return out
}

func (f field) set(doc, value any) any {
	if parent, ok := f.parent(doc); ok {
		switch p := parent.(type) {
		case map[string]any:
			p[f.path[len(f.path)-1].(string)] = value
		case []any:
			p[f.path[len(f.path)-1].(int)] = value
		}
	}
	return doc
}

// remove takes a field away; an item of a list becomes null.
func (f field) remove(doc any) any {
	if parent, ok := f.parent(doc); ok {
		switch p := parent.(type) {
		case map[string]any:
			delete(p, f.path[len(f.path)-1].(string))
		case []any:
			p[f.path[len(f.path)-1].(int)] = nil
		}
	}
	return doc
}

// parent gives what holds the field, if the document has it.
func (f field) parent(doc any) (any, bool) {
	at := doc
	for _, p := range f.path[:len(f.path)-1] {
		switch v := at.(type) {
		case map[string]any:
			name, ok := p.(string)
			if !ok {
				return nil, false
			}
			at = v[name]
		case []any:
			i, ok := p.(int)
			if !ok || i >= len(v) {
				return nil, false
			}
			at = v[i]
		default:
			return nil, false
		}
	}
	switch v := at.(type) {
	case map[string]any:
		_, ok := f.path[len(f.path)-1].(string)
		return at, ok
	case []any:
		i, ok := f.path[len(f.path)-1].(int)
		return at, ok && i < len(v)
	}
	return nil, false
}

// wrong is a value that a field hardly can have.
type wrong struct {
	name  string
	value any
}

// wrongFor lists values to try in the place of one.
func wrongFor(v any) []wrong {
	out := []wrong{{"null", nil}}
	switch v.(type) {
	case map[string]any:
		return append(out, wrong{"a list", []any{}}, wrong{"a text", "x"}, wrong{"an empty object", map[string]any{}})
	case []any:
		return append(out, wrong{"an object", map[string]any{}}, wrong{"a text", "x"}, wrong{"an empty list", []any{}}, wrong{"a list of null", []any{nil}}, wrong{"a list of an empty object", []any{map[string]any{}}})
	case string:
		return append(out, wrong{"a number", 1}, wrong{"an object", map[string]any{}}, wrong{"empty", ""}, wrong{"not a name", "Not A_name!"}, wrong{"long", strings.Repeat("a", 300)})
	case bool:
		return append(out, wrong{"a text", "true"}, wrong{"a number", 1})
	}
	return append(out, wrong{"a text", "1"}, wrong{"a text of no number", "x"}, wrong{"zero", 0}, wrong{"negative", -1}, wrong{"huge", 1 << 40}, wrong{"a fraction", 1.5}, wrong{"70000", 70000})
}

// othersFor lists values that an update might set.
func othersFor(v any) []wrong {
	switch v := v.(type) {
	case map[string]any:
		return []wrong{{"an empty object", map[string]any{}}}
	case []any:
		return []wrong{{"an empty list", []any{}}}
	case string:
		return []wrong{{"empty", ""}, {"another text", v + "x"}}
	case bool:
		return []wrong{{"the opposite", !v}}
	}
	return []wrong{{"zero", 0}, {"seven", 7}, {"negative", -1}}
}
