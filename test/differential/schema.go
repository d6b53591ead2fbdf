package differential

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Schemas are upstream's OpenAPI v3 documents.
type Schemas struct {
	// kinds has the schema of each kind, by "apiVersion kind".
	kinds map[string]*schemaNode
	all   map[string]*schemaNode
}

type schemaNode struct {
	Ref        string                 `json:"$ref"`
	Type       string                 `json:"type"`
	Format     string                 `json:"format"`
	Properties map[string]*schemaNode `json:"properties"`
	Items      *schemaNode            `json:"items"`
	Values     *schemaNode            `json:"additionalProperties"`
	AllOf      []*schemaNode          `json:"allOf"`
	OneOf      []*schemaNode          `json:"oneOf"`
	Enum       []any                  `json:"enum"`
	GVKs       []struct {
		Group, Version, Kind string
	} `json:"x-kubernetes-group-version-kind"`
}

// LoadSchemas asks a server for the documents of the kinds.
func LoadSchemas(ctx context.Context, s *Server, kinds []*Kind) (*Schemas, error) {
	out := &Schemas{kinds: map[string]*schemaNode{}, all: map[string]*schemaNode{}}
	read := map[string]bool{}
	for _, k := range kinds {
		if read[k.Root()] {
			continue
		}
		read[k.Root()] = true
		data, err := s.Fetch(ctx, "/openapi/v3"+k.Root(), "application/json")
		if err != nil {
			return nil, err
		}
		var doc struct {
			Components struct {
				Schemas map[string]*schemaNode `json:"schemas"`
			} `json:"components"`
		}
		if err := json.Unmarshal(data, &doc); err != nil {
			return nil, fmt.Errorf("the schema of %s: %w", k.APIVersion(), err)
		}
		for name, node := range doc.Components.Schemas {
			out.all[name] = node
			if len(node.GVKs) == 1 {
				gvk := node.GVKs[0]
				out.kinds[strings.TrimPrefix(gvk.Group+"/"+gvk.Version, "/")+" "+gvk.Kind] = node
			}
		}
	}
	return out, nil
}

func (s *Schemas) resolve(n *schemaNode) *schemaNode {
	for range 5 {
		switch {
		case n == nil:
			return nil
		case n.Ref != "":
			n = s.all[n.Ref[strings.LastIndexByte(n.Ref, '/')+1:]]
		case len(n.AllOf) == 1:
			n = n.AllOf[0]
		default:
			return n
		}
	}
	return n
}

// deepest bounds the depth of fields; JSON schemas hold themselves.
const deepest = 9

// places lists all fields that the kind's spec and its like may have; "[]" is an
// item of a list, "{}" a value of a map.
func (s *Schemas) places(k *Kind) []place {
	root := s.resolve(s.kinds[k.APIVersion()+" "+k.Name])
	if root == nil {
		return nil
	}
	var out []place
	var walk func(path []string, n *schemaNode)
	walk = func(path []string, n *schemaNode) {
		n = s.resolve(n)
		if n == nil || len(path) > deepest {
			return
		}
		if len(path) > 0 {
			out = append(out, place{slices.Clone(path), n})
		}
		for _, name := range sortedKeys(n.Properties) {
			if len(path) == 0 && slices.Contains([]string{"metadata", "kind", "apiVersion"}, name) {
				continue
			}
			walk(append(path, name), n.Properties[name])
		}
		if n.Items != nil {
			walk(append(path, "[]"), n.Items)
		}
		if n.Values != nil {
			walk(append(path, "{}"), n.Values)
		}
	}
	walk(nil, root)
	return out
}

type place struct {
	path   []string
	schema *schemaNode
}

func (p place) String() string { return strings.Join(p.path, ".") }

// put sets the place in a document, in the first item of lists that are there.
func (p place) put(doc map[string]any, value any) {
	var set func(at any, path []string) any
	set = func(at any, path []string) any {
		if len(path) == 0 {
			return value
		}
		switch name := path[0]; name {
		case "[]":
			list, _ := at.([]any)
			if len(list) == 0 {
				list = []any{nil}
			}
			list[0] = set(list[0], path[1:])
			return list
		case "{}":
			m, _ := at.(map[string]any)
			if m == nil {
				m = map[string]any{}
			}
			m["key"] = set(m["key"], path[1:])
			return m
		default:
			m, _ := at.(map[string]any)
			if m == nil {
				m = map[string]any{}
			}
			m[name] = set(m[name], path[1:])
			return m
		}
	}
	set(doc, p.path)
}

// candidates are values to try in a place, right and wrong ones.
func (s *Schemas) candidates(n *schemaNode) []wrong {
	var out []wrong
	for _, e := range n.Enum {
		out = append(out, wrong{fmt.Sprint(e), e})
	}
	kind := n.Type
	if len(n.OneOf) > 0 || n.Format == "int-or-string" {
		kind = "string"
		out = append(out, wrong{"5", 5}, wrong{"50%", "50%"}, wrong{"-1", -1}, wrong{"100Mi", "100Mi"}, wrong{"150%", "150%"})
	}
	switch kind {
	case "string":
		out = append(out, wrong{"x", "x"}, wrong{"empty", ""}, wrong{"Not A_name!", "Not A_name!"}, wrong{"long", strings.Repeat("a", 300)}, wrong{"/x", "/x"}, wrong{"10.1.2.3", "10.1.2.3"}, wrong{"a time", "2030-01-02T03:04:05Z"})
		if n.Format == "byte" {
			out = append(out, wrong{"base64", "eA=="})
		}
	case "integer", "number":
		out = append(out, wrong{"0", 0}, wrong{"1", 1}, wrong{"-1", -1}, wrong{"70000", 70000}, wrong{"2147483648", 1 << 31}, wrong{"5", 5})
	case "boolean":
		out = append(out, wrong{"true", true}, wrong{"false", false})
	case "array":
		out = append(out, wrong{"an empty list", []any{}}, wrong{"a list of null", []any{nil}})
	default:
		out = append(out, wrong{"an empty object", map[string]any{}})
	}
	return append(out, wrong{"null", nil})
}

// vary creates objects with random fields set, one at a time and two, and updates
// one so, without storing any.
func (s *Schemas) vary(st *story, o Options) {
	places := s.places(st.k)
	if len(places) == 0 {
		return
	}
	random := rand.New(rand.NewPCG(o.Seed, hash(st.k.Title())))
	dry := st.collection() + "?dryRun=All"
	pick := func() (place, wrong) {
		p := places[random.IntN(len(places))]
		c := s.candidates(p.schema)
		return p, c[random.IntN(len(c))]
	}
	used := map[string]bool{}
	st.create("create", st.base)
	for range o.Samples {
		p, c := pick()
		q, d := pick()
		name := p.String() + " as " + c.name
		both := random.IntN(4) == 0
		if both {
			name += " and " + q.String() + " as " + d.name
		}
		if used[name] {
			continue
		}
		used[name] = true
		change := func(obj map[string]any) {
			p.put(obj, c.value)
			if both {
				q.put(obj, d.value)
			}
		}
		obj := st.object(st.base + "-n")
		change(obj)
		st.send("create with "+name, "POST", dry, obj)
		st.edit("update with "+name, st.path(st.base)+"?dryRun=All", st.base, change)
		if _, ok := st.k.Subresources["status"]; ok && p.path[0] == "status" {
			st.edit("status with "+name, st.path(st.base)+"/status?dryRun=All", st.base, change)
		}
	}
}

// hash tells kinds apart for the seed (FNV-1a).
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

func sortedKeys(m map[string]*schemaNode) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
