// Package wire is the file format of the types for server-side apply: a
// structured-merge-diff schema as compact JSON, which loads much faster than
// upstream's YAML or a whole OpenAPI document.
package wire

import (
	"encoding/json"
	"slices"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// Document is the file.
type Document struct {
	Kinds []Kind `json:"kinds"`
	Named []Type `json:"types"`
}

// Kind says which type a Kubernetes kind is.
type Kind struct {
	Group   string `json:"g,omitempty"`
	Version string `json:"v"`
	Kind    string `json:"k"`
	Type    string `json:"t"`
}

// Type is a schema.TypeDef.
type Type struct {
	Name string `json:"n"`
	Atom
}

// Atom is a schema.Atom.
type Atom struct {
	Scalar string `json:"s,omitempty"`
	List   *List  `json:"l,omitempty"`
	Map    *Map   `json:"m,omitempty"`
}

// List is a schema.List.
type List struct {
	Of       Ref      `json:"o"`
	Relation string   `json:"r,omitempty"`
	Keys     []string `json:"k,omitempty"`
}

// Map is a schema.Map; upstream's documents have no unions.
type Map struct {
	Fields   []Field `json:"f,omitempty"`
	Of       *Ref    `json:"o,omitempty"`
	Relation string  `json:"r,omitempty"`
}

// Field is a schema.StructField.
type Field struct {
	Name    string          `json:"n"`
	Type    Ref             `json:"t"`
	Default json.RawMessage `json:"d,omitempty"`
}

// Ref is a schema.TypeRef.
type Ref struct {
	Name     string `json:"n,omitempty"`
	Relation string `json:"r,omitempty"`
	Nullable bool   `json:"z,omitempty"`
	Atom
}

// Parse reads a file.
func Parse(data []byte) (*Document, error) {
	var d Document
	return &d, json.Unmarshal(data, &d)
}

// Types gives the schema's types.
func (d *Document) Types() []schema.TypeDef {
	out := make([]schema.TypeDef, len(d.Named))
	for i, t := range d.Named {
		out[i] = schema.TypeDef{Name: t.Name, Atom: t.Atom.schema()}
	}
	return out
}

func (a Atom) schema() schema.Atom {
	var out schema.Atom
	if a.Scalar != "" {
		s := schema.Scalar(a.Scalar)
		out.Scalar = &s
	}
	if a.List != nil {
		out.List = &schema.List{ElementType: a.List.Of.schema(), ElementRelationship: schema.ElementRelationship(a.List.Relation), Keys: a.List.Keys}
	}
	if a.Map != nil {
		out.Map = &schema.Map{ElementRelationship: schema.ElementRelationship(a.Map.Relation), Fields: make([]schema.StructField, len(a.Map.Fields))}
		if a.Map.Of != nil {
			out.Map.ElementType = a.Map.Of.schema()
		}
		for i, f := range a.Map.Fields {
			out.Map.Fields[i] = schema.StructField{Name: f.Name, Type: f.Type.schema(), Default: f.value()}
		}
	}
	return out
}

// value gives the default as structured-merge-diff wants it; nil for none.
func (f Field) value() any {
	if f.Default == nil {
		return nil
	}
	var v any
	if json.Unmarshal(f.Default, &v) != nil {
		return nil
	}
	return v
}

func (r Ref) schema() schema.TypeRef {
	out := schema.TypeRef{Inlined: r.Atom.schema(), Nullable: r.Nullable}
	if r.Name != "" {
		name := r.Name
		out.NamedType = &name
	}
	if r.Relation != "" {
		relation := schema.ElementRelationship(r.Relation)
		out.ElementRelationship = &relation
	}
	return out
}

// Of makes the file's form of a type.
func Of(t schema.TypeDef) (Type, error) {
	a, err := atomOf(t.Atom)
	return Type{Name: t.Name, Atom: a}, err
}

func atomOf(a schema.Atom) (out Atom, err error) {
	if a.Scalar != nil {
		out.Scalar = string(*a.Scalar)
	}
	if a.List != nil {
		out.List = &List{Relation: string(a.List.ElementRelationship), Keys: a.List.Keys}
		if out.List.Of, err = refOf(a.List.ElementType); err != nil {
			return out, err
		}
	}
	if a.Map == nil {
		return out, nil
	}
	out.Map = &Map{Relation: string(a.Map.ElementRelationship)}
	if a.Map.ElementType.NamedType != nil || a.Map.ElementType.Inlined != (schema.Atom{}) {
		of, err := refOf(a.Map.ElementType)
		if err != nil {
			return out, err
		}
		out.Map.Of = &of
	}
	for _, f := range a.Map.Fields {
		field := Field{Name: f.Name}
		if field.Type, err = refOf(f.Type); err != nil {
			return out, err
		}
		if f.Default != nil {
			if field.Default, err = json.Marshal(f.Default); err != nil {
				return out, err
			}
		}
		out.Map.Fields = append(out.Map.Fields, field)
	}
	// The converter gives them in no order; the same types are to be the same bytes.
	slices.SortFunc(out.Map.Fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func refOf(r schema.TypeRef) (out Ref, err error) {
	out.Nullable = r.Nullable
	if r.NamedType != nil {
		out.Name = *r.NamedType
	}
	if r.ElementRelationship != nil {
		out.Relation = string(*r.ElementRelationship)
	}
	out.Atom, err = atomOf(r.Inlined)
	return out, err
}
