package custom

import (
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
)

// compiled is a version's schema: what is pruned and defaulted by, and the same in
// the form that a walk over bytes needs.
type compiled struct {
	structural *structuralschema.Structural
	shape      *shape
}

// compile makes the schemas of all versions. A version without one is left out.
func (d *Definition) compile() (map[string]*compiled, error) {
	crd, err := d.whole()
	if err != nil {
		return nil, err
	}
	out := make(map[string]*compiled, len(crd.Spec.Versions))
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		if v.Schema == nil {
			continue
		}
		internal, err := internalSchema(v)
		if err != nil {
			return nil, err
		}
		s, err := structuralschema.NewStructural(internal.OpenAPIV3Schema)
		if err != nil {
			return nil, fmt.Errorf("the schema of %s in %s: %w", crd.Name, v.Name, err)
		}
		// Defaults are shared with what s was made of: pruning them needs a copy.
		s = s.DeepCopy()
		if err := structuraldefaulting.PruneDefaults(s); err != nil {
			return nil, fmt.Errorf("the defaults of %s in %s: %w", crd.Name, v.Name, err)
		}
		out[v.Name] = &compiled{structural: s, shape: shapeOf(s)}
	}
	return out, nil
}

// structural gives one version's schema; nil where it has none.
func (d *Definition) structural(version string) (*structuralschema.Structural, error) {
	schemas, err := d.schemas()
	if err != nil || schemas[version] == nil {
		return nil, err
	}
	return schemas[version].structural, nil
}

// internalSchema converts a version's schema, which is there, to the internal form.
func internalSchema(v *apiextensionsv1.CustomResourceDefinitionVersion) (*apiextensions.CustomResourceValidation, error) {
	out := &apiextensions.CustomResourceValidation{}
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v.Schema, out, nil); err != nil {
		return nil, fmt.Errorf("converting the schema of %s: %w", v.Name, err)
	}
	return out, nil
}
