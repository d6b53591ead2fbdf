package custom

import (
	"encoding/json"
	"fmt"
	"sync/atomic"

	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/schemamutation"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"kubus.dev/gateway/internal/openapi"
)

// documents are the OpenAPI documents of what is served, made when they are asked for.
type documents struct{ parts atomic.Pointer[openapi.Parts] }

func (d *documents) set(served []*Definition) {
	parts := &openapi.Parts{}
	for _, definition := range served {
		for _, v := range definition.crd.Spec.Versions {
			if v.Served {
				parts.List = append(parts.List, definition.part(definition.gv(v.Name)))
			}
		}
	}
	d.parts.Store(parts)
}

// Documents gives the parts that custom kinds add to the OpenAPI documents. The value
// is another one after each change.
func (c *Controller) Documents() *openapi.Parts {
	if parts := c.documents.parts.Load(); parts != nil {
		return parts
	}
	return &none
}

var none openapi.Parts

func (d *Definition) part(gv schema.GroupVersion) openapi.Part {
	return openapi.Part{
		Path: "apis/" + gv.String(),
		Hash: fmt.Sprintf("%s,%d,%s", d.crd.UID, d.crd.Generation, gv.Version),
		V2:   func() ([]byte, error) { return d.v2(gv) },
		V3:   func() ([]byte, error) { return d.v3(gv) },
	}
}

func (d *Definition) v3(gv schema.GroupVersion) ([]byte, error) {
	crd, err := d.whole()
	if err != nil {
		return nil, err
	}
	doc, err := builder.BuildOpenAPIV3(crd, gv.Version, builder.Options{IncludeSelectableFields: true})
	if err != nil {
		return nil, fmt.Errorf("OpenAPI of %s: %w", crd.Name, err)
	}
	return json.Marshal(doc)
}

func (d *Definition) v2(gv schema.GroupVersion) ([]byte, error) {
	crd, err := d.whole()
	if err != nil {
		return nil, err
	}
	doc, err := builder.BuildOpenAPIV2(crd, gv.Version, builder.Options{V2: true, IncludeSelectableFields: true})
	if err != nil {
		return nil, fmt.Errorf("OpenAPI of %s: %w", crd.Name, err)
	}
	withoutDefaults(doc.Definitions)
	return json.Marshal(doc)
}

// withoutDefaults takes the defaults out: the built-in documents have none either.
func withoutDefaults(definitions spec.Definitions) {
	walker := schemamutation.Walker{RefCallback: schemamutation.RefCallbackNoop, SchemaCallback: func(s *spec.Schema) *spec.Schema {
		if s.Default == nil {
			return s
		}
		out := *s
		out.Default = nil
		return &out
	}}
	for name, s := range definitions {
		definitions[name] = *walker.WalkSchema(&s)
	}
}
