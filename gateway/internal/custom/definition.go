package custom

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/conversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto/statelog"
)

// Definition is one CustomResourceDefinition as the log has it, with what is made
// of it at first use. Nothing of it changes but that it may begin to end; safe for
// concurrent use.
type Definition struct {
	// crd is an outline.
	crd *apiextensionsv1.CustomResourceDefinition
	// entry is a version of the definition with this spec, the newest: the view has it
	// anyway.
	entry atomic.Pointer[statelog.Entry]

	schemas    func() (map[string]*compiled, error)
	converters func() (converters, error)
	types      lazyTypes

	// terminating says that its instances are being deleted and none is created.
	terminating atomic.Bool
}

// converters convert between versions; unsafe ones may change what they are given.
type converters struct{ safe, unsafe runtime.ObjectConvertor }

// outline is a definition without its schemas, which are most of it: JSON that no
// field asks for is skipped.
type outline struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Group                 string                                        `json:"group"`
		Names                 apiextensionsv1.CustomResourceDefinitionNames `json:"names"`
		Scope                 apiextensionsv1.ResourceScope                 `json:"scope"`
		Versions              []outlineVersion                              `json:"versions"`
		Conversion            *apiextensionsv1.CustomResourceConversion     `json:"conversion"`
		PreserveUnknownFields bool                                          `json:"preserveUnknownFields"`
	} `json:"spec"`
	Status apiextensionsv1.CustomResourceDefinitionStatus `json:"status"`
}

type outlineVersion struct {
	Name                     string                                           `json:"name"`
	Served                   bool                                             `json:"served"`
	Storage                  bool                                             `json:"storage"`
	Deprecated               bool                                             `json:"deprecated"`
	DeprecationWarning       *string                                          `json:"deprecationWarning"`
	Subresources             *apiextensionsv1.CustomResourceSubresources      `json:"subresources"`
	AdditionalPrinterColumns []apiextensionsv1.CustomResourceColumnDefinition `json:"additionalPrinterColumns"`
	SelectableFields         []apiextensionsv1.SelectableField                `json:"selectableFields"`
}

// outlineOf reads a stored definition without its schemas, and without what else may
// be large: managed fields and annotations, of which kubectl's holds it all again.
func outlineOf(entry *statelog.Entry) (*apiextensionsv1.CustomResourceDefinition, error) {
	var o outline
	if err := json.Unmarshal(entry.Data(), &o); err != nil {
		return nil, fmt.Errorf("reading %s: %w", entry.Key(), err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: o.Metadata, Status: o.Status}
	crd.ResourceVersion = strconv.FormatUint(entry.Revision(), 10)
	crd.ManagedFields, crd.Annotations = nil, nil
	if approved, ok := o.Metadata.Annotations[apiextensionsv1.KubeAPIApprovedAnnotation]; ok {
		crd.Annotations = map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: approved}
	}
	crd.Spec = apiextensionsv1.CustomResourceDefinitionSpec{
		Group: o.Spec.Group, Names: o.Spec.Names, Scope: o.Spec.Scope,
		Conversion: o.Spec.Conversion, PreserveUnknownFields: o.Spec.PreserveUnknownFields,
	}
	if crd.Spec.Conversion == nil {
		crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}
	}
	for _, v := range o.Spec.Versions {
		crd.Spec.Versions = append(crd.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{
			Name: v.Name, Served: v.Served, Storage: v.Storage, Deprecated: v.Deprecated, DeprecationWarning: v.DeprecationWarning,
			Subresources: v.Subresources, AdditionalPrinterColumns: v.AdditionalPrinterColumns, SelectableFields: v.SelectableFields,
		})
	}
	return crd, nil
}

// newDefinition makes a definition of an outline, which it keeps, and of the entry
// that the outline was read from.
func newDefinition(crd *apiextensionsv1.CustomResourceDefinition, entry *statelog.Entry, factory *conversion.CRConverterFactory) *Definition {
	d := &Definition{crd: crd}
	d.entry.Store(entry)
	d.schemas = sync.OnceValues(d.compile)
	d.converters = sync.OnceValues(func() (converters, error) {
		safe, unsafe, err := factory.NewConverter(crd)
		return converters{safe, unsafe}, err
	})
	d.types.make = sync.OnceValues(d.typeConverter)
	return d
}

// whole reads the definition with its schemas. The result is the caller's own.
func (d *Definition) whole() (*apiextensionsv1.CustomResourceDefinition, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	entry := d.entry.Load()
	if err := json.Unmarshal(entry.Data(), crd); err != nil {
		return nil, fmt.Errorf("reading %s: %w", entry.Key(), err)
	}
	// What is served is what was accepted.
	crd.Status = *d.crd.Status.DeepCopy()
	return crd, nil
}

// storage is the version that the log keeps.
func (d *Definition) storage() schema.GroupVersion {
	for i := range d.crd.Spec.Versions {
		if d.crd.Spec.Versions[i].Storage {
			return d.gv(d.crd.Spec.Versions[i].Name)
		}
	}
	panic("a definition without a storage version was stored: " + d.crd.Name)
}

func (d *Definition) gv(version string) schema.GroupVersion {
	return schema.GroupVersion{Group: d.crd.Spec.Group, Version: version}
}

// gvk is the kind in a version, under the name that was accepted.
func (d *Definition) gvk(gv schema.GroupVersion) schema.GroupVersionKind {
	return gv.WithKind(d.crd.Status.AcceptedNames.Kind)
}

func (d *Definition) namespaced() bool {
	return d.crd.Spec.Scope == apiextensionsv1.NamespaceScoped
}

// version gives a version's part of the definition; nil where there is none.
func (d *Definition) version(name string) *apiextensionsv1.CustomResourceDefinitionVersion {
	for i := range d.crd.Spec.Versions {
		if d.crd.Spec.Versions[i].Name == name {
			return &d.crd.Spec.Versions[i]
		}
	}
	return nil
}
