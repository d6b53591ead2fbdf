package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// Upstream publishes its documents without the values that an enumeration may have; a
// kube-apiserver shows them. They stand in the Go code that upstream generates of its
// types, which is read here as text: it is large, and nothing of it has to run.

// enums are the fields that have an enumeration below them, by type and field.
type enums map[string]map[string]*enum

// enum is what a field, its items or its values may be.
type enum struct {
	description       string // of the field; it lists what the values mean
	values            []any
	items, additional *enum
}

// readEnums reads upstream's generated definitions.
func readEnums(kubernetes string) (enums, error) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(kubernetes, "pkg", "generated", "openapi", "zz_generated.openapi.go"), nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	out := enums{}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		model, ok := modelName(f.Name.Name)
		if !ok {
			continue
		}
		for field, schema := range properties(f.Body) {
			e, err := enumOf(schema)
			if err != nil {
				return nil, fmt.Errorf("%s.%s: %w", model, field, err)
			}
			if e == nil {
				continue
			}
			if out[model] == nil {
				out[model] = map[string]*enum{}
			}
			out[model][field] = e
		}
	}
	return out, nil
}

// modelName is the name in the documents of what a function describes.
func modelName(function string) (string, bool) {
	for prefix, group := range map[string]string{"schema_k8sio_api_": "io.k8s.api.", "schema_pkg_apis_apiextensions_": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions."} {
		if rest, ok := strings.CutPrefix(function, prefix); ok {
			return group + strings.ReplaceAll(rest, "_", "."), true
		}
	}
	return "", false
}

// properties are the schemas of a type's fields.
func properties(body ast.Node) map[string]*ast.CompositeLit {
	out := map[string]*ast.CompositeLit{}
	ast.Inspect(body, func(n ast.Node) bool {
		pair, ok := n.(*ast.KeyValueExpr)
		if !ok || named(pair.Key) != "Properties" || len(out) > 0 {
			return true
		}
		for _, e := range pair.Value.(*ast.CompositeLit).Elts {
			field := e.(*ast.KeyValueExpr)
			if name, err := strconv.Unquote(field.Key.(*ast.BasicLit).Value); err == nil {
				out[name] = field.Value.(*ast.CompositeLit)
			}
		}
		return false
	})
	return out
}

// enumOf reads a schema; nil: there is no enumeration in it.
func enumOf(schema ast.Expr) (*enum, error) {
	props := member(member(schema, "Schema"), "SchemaProps")
	if props == nil {
		props = member(schema, "SchemaProps")
	}
	if props == nil {
		return nil, nil
	}
	out := &enum{}
	if list, ok := member(props, "Enum").(*ast.CompositeLit); ok {
		for _, e := range list.Elts {
			value, err := strconv.Unquote(e.(*ast.BasicLit).Value)
			if err != nil {
				return nil, err
			}
			out.values = append(out.values, value)
		}
	}
	var err error
	if out.items, err = enumOf(member(props, "Items")); err != nil {
		return nil, err
	}
	if out.additional, err = enumOf(member(props, "AdditionalProperties")); err != nil {
		return nil, err
	}
	if out.values == nil && out.items == nil && out.additional == nil {
		return nil, nil
	}
	if text, ok := member(props, "Description").(*ast.BasicLit); ok {
		out.description, err = strconv.Unquote(text.Value)
	}
	return out, err
}

// member gives the value of a field of a composite literal, or of what a & stands
// before; nil: it has none.
func member(of ast.Expr, name string) ast.Expr {
	if ref, ok := of.(*ast.UnaryExpr); ok {
		of = ref.X
	}
	lit, ok := of.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	for _, e := range lit.Elts {
		if pair, ok := e.(*ast.KeyValueExpr); ok && named(pair.Key) == name {
			return pair.Value
		}
	}
	return nil
}

func named(e ast.Expr) string {
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// addTo puts the enumerations into the schemas of a document.
func (all enums) addTo(schemas object) {
	for model, fields := range all {
		schema, _ := schemas[model].(object)
		props, _ := schema["properties"].(object)
		for field, e := range fields {
			if prop, ok := props[field].(object); ok {
				e.addTo(prop)
			}
		}
	}
}

func (e *enum) addTo(schema object) {
	if e == nil || schema == nil {
		return
	}
	if e.description != "" {
		schema["description"] = e.description
	}
	if e.values != nil {
		schema["enum"] = e.values
	}
	items, _ := schema["items"].(object)
	e.items.addTo(items)
	additional, _ := schema["additionalProperties"].(object)
	e.additional.addTo(additional)
}
