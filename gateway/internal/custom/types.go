package custom

import (
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/spec3"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// lazyTypes is the type converter of a definition, made at its first use.
type lazyTypes struct {
	make func() (managedfields.TypeConverter, error)
}

// ObjectToTyped is upstream's.
func (l *lazyTypes) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	types, err := l.make()
	if err != nil {
		return nil, err
	}
	return types.ObjectToTyped(obj, opts...)
}

// TypedToObject is upstream's.
func (l *lazyTypes) TypedToObject(value *typed.TypedValue) (runtime.Object, error) {
	types, err := l.make()
	if err != nil {
		return nil, err
	}
	return types.TypedToObject(value)
}

// typeConverter makes the types of all versions. As upstream, types are deduced from
// the objects where the schemas give none.
func (d *Definition) typeConverter() (managedfields.TypeConverter, error) {
	crd, err := d.whole()
	if err != nil {
		return nil, err
	}
	specs := make([]*spec3.OpenAPI, 0, len(crd.Spec.Versions))
	for _, v := range crd.Spec.Versions {
		s, err := builder.BuildOpenAPIV3(crd, v.Name, builder.Options{})
		if err != nil {
			return managedfields.NewDeducedTypeConverter(), nil
		}
		specs = append(specs, s)
	}
	merged, err := builder.MergeSpecsV3(specs...)
	if err != nil || merged.Components == nil || len(merged.Components.Schemas) == 0 {
		return managedfields.NewDeducedTypeConverter(), nil
	}
	return managedfields.NewTypeConverter(merged.Components.Schemas, crd.Spec.PreserveUnknownFields)
}
