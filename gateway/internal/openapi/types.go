package openapi

import (
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"kubus.dev/gateway/internal/openapi/wire"
)

// Types converts objects to typed values for managed fields and server-side
// apply. It satisfies upstream's managedfields.TypeConverter, for every kind and
// subresource of the table.
type Types struct {
	kinds func() (map[schema.GroupVersionKind]typed.ParseableType, error)
}

// NewTypes makes a converter that reads its types when they are first needed.
func NewTypes() *Types { return &Types{kinds: sync.OnceValues(loadTypes)} }

// ObjectToTyped is upstream's.
func (t *Types) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	kinds, err := t.kinds()
	if err != nil {
		return nil, err
	}
	gvk := obj.GetObjectKind().GroupVersionKind()
	kind, ok := kinds[gvk]
	if !ok {
		return nil, fmt.Errorf("no corresponding type for %v", gvk)
	}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return kind.FromUnstructured(u.UnstructuredContent(), opts...)
	}
	return kind.FromStructured(obj, opts...)
}

// TypedToObject is upstream's: the object comes back unstructured.
func (t *Types) TypedToObject(value *typed.TypedValue) (runtime.Object, error) {
	content, ok := value.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a value of type %T is no object", value.AsValue().Unstructured())
	}
	return &unstructured.Unstructured{Object: content}, nil
}

func loadTypes() (map[schema.GroupVersionKind]typed.ParseableType, error) {
	data, err := read("types.json.gz")
	if err != nil {
		return nil, err
	}
	doc, err := wire.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading the embedded types: %w", err)
	}
	parser := &typed.Parser{}
	parser.Schema.Types = doc.Types()
	kinds := make(map[schema.GroupVersionKind]typed.ParseableType, len(doc.Kinds))
	for _, k := range doc.Kinds {
		kinds[schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}] = parser.Type(k.Type)
	}
	return kinds, nil
}
