package custom

import (
	"context"
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// writing is what upstream's strategies of a custom resource are.
type writing interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
	GetAttrs(obj runtime.Object) (labels.Set, fields.Set, error)
	GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set
}

// strategies are upstream's of one version: the main resource's and, where the
// version has the subresource, that of its status.
type strategies struct{ main, status writing }

// pruning takes away what admission has put into an object and the schema does not
// describe; what clients sent was pruned when it was decoded.
type pruning struct {
	writing
	schema *structuralschema.Structural
}

func (p pruning) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	p.prune(obj)
	p.writing.PrepareForCreate(ctx, obj)
}

func (p pruning) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	p.prune(obj)
	p.writing.PrepareForUpdate(ctx, obj, old)
}

func (p pruning) prune(obj runtime.Object) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		_, _ = coerceContent(u.Object, p.schema, false) // what is of a wrong type is told by the validation
	}
}

// strategies makes them, compiling the rules of the schema.
func (d *Definition) strategies(gv schema.GroupVersion) (strategies, error) {
	crd, err := d.whole()
	if err != nil {
		return strategies{}, err
	}
	structural, err := d.structural(gv.Version)
	if err != nil {
		return strategies{}, err
	}
	for i := range crd.Spec.Versions {
		if v := &crd.Spec.Versions[i]; v.Name == gv.Version {
			main, status, err := validators(v)
			if err != nil {
				return strategies{}, err
			}
			statusSpec, scaleSpec := subresourceSpecs(v)
			made := customresource.NewStrategy(unstructuredTyper, d.namespaced(), d.gvk(gv), main, status, structural, statusSpec, scaleSpec, v.SelectableFields)
			return strategies{main: pruning{made, structural}, status: pruning{customresource.NewStatusStrategy(made), structural}}, nil
		}
	}
	return strategies{}, fmt.Errorf("%s has no version %s", crd.Name, gv.Version)
}

// validators are those of the whole object and of its status alone.
func validators(v *apiextensionsv1.CustomResourceDefinitionVersion) (main, status validation.SchemaValidator, err error) {
	var props *apiextensions.JSONSchemaProps
	if v.Schema != nil {
		internal, err := internalSchema(v)
		if err != nil {
			return nil, nil, err
		}
		props = internal.OpenAPIV3Schema
	}
	if main, _, err = validation.NewSchemaValidator(props); err != nil {
		return nil, nil, err
	}
	if props == nil || v.Subresources == nil || v.Subresources.Status == nil {
		return main, nil, nil
	}
	if statusProps, ok := props.Properties["status"]; ok {
		if status, _, err = validation.NewSchemaValidator(&statusProps); err != nil {
			return nil, nil, err
		}
	}
	return main, status, nil
}

func subresourceSpecs(v *apiextensionsv1.CustomResourceDefinitionVersion) (status *apiextensions.CustomResourceSubresourceStatus, scale *apiextensions.CustomResourceSubresourceScale) {
	if v.Subresources == nil {
		return nil, nil
	}
	if v.Subresources.Status != nil {
		status = &apiextensions.CustomResourceSubresourceStatus{}
	}
	if s := v.Subresources.Scale; s != nil {
		scale = &apiextensions.CustomResourceSubresourceScale{SpecReplicasPath: s.SpecReplicasPath, StatusReplicasPath: s.StatusReplicasPath, LabelSelectorPath: s.LabelSelectorPath}
	}
	return status, scale
}

// lazyStrategy is upstream's strategy, made when something is first written.
type lazyStrategy struct {
	names.NameGenerator
	runtime.ObjectTyper
	namespaced bool
	reset      func() map[fieldpath.APIVersion]*fieldpath.Set
	make       func() (writing, error)
}

var _ writing = lazyStrategy{}

func newLazyStrategy(namespaced bool, reset func() map[fieldpath.APIVersion]*fieldpath.Set, make func() (writing, error)) lazyStrategy {
	return lazyStrategy{NameGenerator: names.SimpleNameGenerator, ObjectTyper: unstructuredTyper, namespaced: namespaced, reset: reset, make: make}
}

// broken is the error of a schema that cannot be compiled, which the definition's
// own validation does not let happen.
func broken(err error) field.ErrorList { return field.ErrorList{field.InternalError(nil, err)} }

func (l lazyStrategy) NamespaceScoped() bool                         { return l.namespaced }
func (l lazyStrategy) AllowCreateOnUpdate(context.Context) bool      { return false }
func (l lazyStrategy) AllowUnconditionalUpdate(context.Context) bool { return false }
func (l lazyStrategy) Canonicalize(runtime.Object)                   {}

func (l lazyStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set { return l.reset() }

func (l lazyStrategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	if s, err := l.make(); err == nil {
		s.PrepareForCreate(ctx, obj)
	}
}

func (l lazyStrategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	s, err := l.make()
	if err != nil {
		return broken(err)
	}
	return s.Validate(ctx, obj)
}

func (l lazyStrategy) WarningsOnCreate(ctx context.Context, obj runtime.Object) []string {
	s, err := l.make()
	if err != nil {
		return nil
	}
	return s.WarningsOnCreate(ctx, obj)
}

func (l lazyStrategy) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	if s, err := l.make(); err == nil {
		s.PrepareForUpdate(ctx, obj, old)
	}
}

func (l lazyStrategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	s, err := l.make()
	if err != nil {
		return broken(err)
	}
	return s.ValidateUpdate(ctx, obj, old)
}

func (l lazyStrategy) WarningsOnUpdate(ctx context.Context, obj, old runtime.Object) []string {
	s, err := l.make()
	if err != nil {
		return nil
	}
	return s.WarningsOnUpdate(ctx, obj, old)
}

func (l lazyStrategy) GetAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	s, err := l.make()
	if err != nil {
		return nil, nil, err
	}
	return s.GetAttrs(obj)
}
