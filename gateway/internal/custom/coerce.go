package custom

import (
	"fmt"

	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	schemaobjectmeta "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	structuralpruning "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// coerce makes of an object what decoding into Go structs would make of a built-in
// one: its metadata has its types and no other fields, and what the schema does not
// describe is gone. unknown are the paths of what went, when they are asked for.
// Objects of other kinds, such as DeleteOptions, only get their metadata read.
func (d *Definition) coerce(u *unstructured.Unstructured, unknownAsked bool) (unknown []string, err error) {
	// The type is read before the schema is applied: it need not be in it.
	kind, hasKind, err := unstructured.NestedString(u.Object, "kind")
	if err != nil {
		return nil, err
	}
	apiVersion, hasVersion, err := unstructured.NestedString(u.Object, "apiVersion")
	if err != nil {
		return nil, err
	}
	metadata, hasMetadata, unknown, err := schemaobjectmeta.GetObjectMetaWithOptions(u.Object, schemaobjectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: unknownAsked})
	if err != nil {
		return nil, err
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, err
	}
	if gv.Group == d.crd.Spec.Group && kind == d.crd.Status.AcceptedNames.Kind {
		s, err := d.structural(gv.Version)
		if err != nil {
			return nil, err
		}
		paths, err := coerceContent(u.Object, s, unknownAsked)
		if err != nil {
			return nil, err
		}
		unknown = append(unknown, paths...)
	}
	if hasKind {
		u.SetKind(kind)
	}
	if hasVersion {
		u.SetAPIVersion(apiVersion)
	}
	if hasMetadata {
		if err := schemaobjectmeta.SetObjectMeta(u.Object, metadata); err != nil {
			return nil, err
		}
	}
	return unknown, nil
}

// coerceContent applies a schema to everything but the object's own type and metadata.
func coerceContent(content map[string]any, s *structuralschema.Structural, unknownAsked bool) (unknown []string, _ error) {
	unknown = structuralpruning.PruneWithOptions(content, s, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: unknownAsked})
	structuraldefaulting.PruneNonNullableNullsWithoutDefaults(content, s)
	// A nil error of a concrete type is not a nil error.
	fieldErr, paths := schemaobjectmeta.CoerceWithOptions(nil, content, s, false, schemaobjectmeta.CoerceOptions{ReturnUnknownFieldPaths: unknownAsked})
	if fieldErr != nil {
		return nil, fieldErr
	}
	return append(unknown, paths...), nil
}

// coercingDecoder decodes what clients send.
type coercingDecoder struct {
	runtime.Decoder
	d      *Definition
	strict bool
}

// Decode is upstream's. What a strict decoder found wrong, and fields that the schema
// does not know, come back as a strict decoding error beside the object.
func (c coercingDecoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	var wrong []error
	obj, gvk, err := c.Decoder.Decode(data, defaults, into)
	if err != nil {
		strict, ok := runtime.AsStrictDecodingError(err)
		if !ok || obj == nil {
			return nil, gvk, err
		}
		wrong = strict.Errors()
	}
	u, ok := obj.(*unstructured.Unstructured)
	if ok {
		unknown, err := c.d.coerce(u, c.strict)
		if err != nil {
			return nil, gvk, err
		}
		for _, path := range unknown {
			wrong = append(wrong, fmt.Errorf("unknown field %q", path))
		}
	}
	if c.strict && len(wrong) > 0 {
		return obj, gvk, runtime.NewStrictDecodingError(wrong)
	}
	return obj, gvk, nil
}
