package custom

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"kubus.dev/gateway/internal/resource"
)

// kinds makes a Kind for each served version.
func (d *Definition) kinds() []*resource.Kind {
	var out []*resource.Kind
	for i := range d.crd.Spec.Versions {
		if v := &d.crd.Spec.Versions[i]; v.Served {
			out = append(out, d.kind(v))
		}
	}
	return out
}

var subresourceVerbs = []string{"get", "patch", "update"}

func (d *Definition) kind(v *apiextensionsv1.CustomResourceDefinitionVersion) *resource.Kind {
	gv, names := d.gv(v.Name), d.crd.Status.AcceptedNames
	made := sync.OnceValues(func() (strategies, error) { return d.strategies(gv) })
	main := newLazyStrategy(d.namespaced(), func() map[fieldpath.APIVersion]*fieldpath.Set { return resetFields(v, gv) },
		func() (writing, error) { s, err := made(); return s.main, err })
	k := &resource.Kind{
		GVR: d.storage().WithResource(names.Plural), GVK: d.gvk(d.storage()),
		Singular: names.Singular, ListKind: names.ListKind, ShortNames: names.ShortNames, Categories: names.Categories,
		Namespaced: d.namespaced(), Served: []schema.GroupVersion{gv}, Custom: true, Deprecation: d.deprecation(v),
		Codec: newCodec(d, gv), Tables: newLazyTables(columns(v)), Create: main, Update: main, Delete: main, Listed: d.listed,
	}
	if len(v.SelectableFields) > 0 {
		k.Attrs = main.GetAttrs
	}
	if v.Subresources != nil && v.Subresources.Status != nil {
		status := newLazyStrategy(d.namespaced(), d.statusResetFields, func() (writing, error) { s, err := made(); return s.status, err })
		k.Subresources = append(k.Subresources, resource.Subresource{Name: "status", Kind: k.GVK, Verbs: subresourceVerbs, Update: status})
	}
	if v.Subresources != nil && v.Subresources.Scale != nil {
		k.Subresources = append(k.Subresources, resource.Subresource{Name: "scale", Kind: scaleGVK, Verbs: subresourceVerbs,
			Tables: newLazyTables(scaleColumns(v.Subresources.Scale)),
			Storage: func(main rest.StandardStorage) rest.Storage {
				return &scaling{main: main, gv: gv, paths: pathsOf(v.Subresources.Scale), managed: d.managedPaths()}
			}})
	}
	return k
}

// Verbs of the main resource as upstream's discovery lists them.
var (
	verbs            = []string{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}
	terminatingVerbs = []string{"delete", "deletecollection", "get", "list", "watch"}
)

func (d *Definition) listed() []string {
	if d.terminating.Load() {
		return terminatingVerbs
	}
	return verbs
}

// resetFields are the fields that the main resource takes from nobody, in upstream's
// words. They need no schema.
func resetFields(v *apiextensionsv1.CustomResourceDefinitionVersion, gv schema.GroupVersion) map[fieldpath.APIVersion]*fieldpath.Set {
	status, _ := subresourceSpecs(v)
	return customresource.NewStrategy(unstructuredTyper, false, gv.WithKind(""), nil, nil, nil, status, nil, nil).GetResetFields()
}

// statusResetFields are those of the status subresources of all versions.
func (d *Definition) statusResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	out := map[fieldpath.APIVersion]*fieldpath.Set{}
	for i := range d.crd.Spec.Versions {
		v := &d.crd.Spec.Versions[i]
		status, _ := subresourceSpecs(v)
		if status == nil {
			continue
		}
		of := customresource.NewStatusStrategy(customresource.NewStrategy(unstructuredTyper, false, d.gv(v.Name).WithKind(""), nil, nil, nil, status, nil, nil))
		for apiVersion, set := range of.GetResetFields() {
			out[apiVersion] = set
		}
	}
	return out
}

// deprecation is what clients of a deprecated version are warned of: what its author
// says, else the newest version that is not deprecated.
func (d *Definition) deprecation(v *apiextensionsv1.CustomResourceDefinitionVersion) string {
	switch {
	case !v.Deprecated:
		return ""
	case v.DeprecationWarning != nil:
		return *v.DeprecationWarning
	}
	better := ""
	for _, other := range d.crd.Spec.Versions {
		newer := version.CompareKubeAwareVersionStrings(other.Name, v.Name) > 0
		if other.Served && !other.Deprecated && newer && (better == "" || version.CompareKubeAwareVersionStrings(other.Name, better) > 0) {
			better = other.Name
		}
	}
	group, kind := d.crd.Spec.Group, d.crd.Spec.Names.Kind
	message := fmt.Sprintf("%s/%s %s is deprecated", group, v.Name, kind)
	if better != "" {
		message += fmt.Sprintf("; use %s/%s %s", group, better, kind)
	}
	return message
}

var metaDocs = metav1.ObjectMeta{}.SwaggerDoc()

// age is the column that every custom resource has unless it names its own.
var age = apiextensionsv1.CustomResourceColumnDefinition{Name: "Age", Type: "date", Description: metaDocs["creationTimestamp"], JSONPath: ".metadata.creationTimestamp"}

func columns(v *apiextensionsv1.CustomResourceDefinitionVersion) []apiextensionsv1.CustomResourceColumnDefinition {
	if len(v.AdditionalPrinterColumns) > 0 {
		return v.AdditionalPrinterColumns
	}
	return []apiextensionsv1.CustomResourceColumnDefinition{age}
}

func scaleColumns(s *apiextensionsv1.CustomResourceSubresourceScale) []apiextensionsv1.CustomResourceColumnDefinition {
	var out []apiextensionsv1.CustomResourceColumnDefinition
	if s.SpecReplicasPath != "" {
		out = append(out, apiextensionsv1.CustomResourceColumnDefinition{Name: "Desired", Type: "integer", Description: "Number of desired replicas", JSONPath: ".spec.replicas"})
	}
	if s.StatusReplicasPath != "" {
		out = append(out, apiextensionsv1.CustomResourceColumnDefinition{Name: "Available", Type: "integer", Description: "Number of actual replicas", JSONPath: ".status.replicas"})
	}
	return append(out, age)
}

// lazyTables parses its columns at the first table. One that cannot be parsed, which
// validation does not let happen, leaves the columns before it.
type lazyTables struct{ make func() rest.TableConvertor }

func newLazyTables(columns []apiextensionsv1.CustomResourceColumnDefinition) lazyTables {
	return lazyTables{sync.OnceValue(func() rest.TableConvertor {
		made, _ := tableconvertor.New(columns)
		return made
	})}
}

func (l lazyTables) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return l.make().ConvertToTable(ctx, obj, options)
}

// inOrder sorts kinds as discovery has them: by group, the preferred version of each
// group first, then by name.
func inOrder(kinds []*resource.Kind) []*resource.Kind {
	slices.SortFunc(kinds, func(a, b *resource.Kind) int {
		return cmp.Or(
			cmp.Compare(a.GVR.Group, b.GVR.Group),
			version.CompareKubeAwareVersionStrings(b.Served[0].Version, a.Served[0].Version),
			cmp.Compare(a.GVR.Resource, b.GVR.Resource),
		)
	})
	return kinds
}
