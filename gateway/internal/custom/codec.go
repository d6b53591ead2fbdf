package custom

import (
	"bytes"
	"fmt"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"kubus.dev/gateway/internal/resource"
)

// codec reads and writes the documents of one served version. In memory objects are
// unstructured and of that version.
type codec struct {
	d    *Definition
	gv   schema.GroupVersion
	list schema.GroupVersionKind

	prefix    []byte // how a document of this version begins
	seen      seen
	machinery func() *resource.Machinery
}

var _ resource.Batch = batching{}

func newCodec(d *Definition, gv schema.GroupVersion) resource.Codec {
	gvk := d.gvk(gv)
	c := &codec{d: d, gv: gv, list: gv.WithKind(d.crd.Status.AcceptedNames.ListKind),
		prefix: fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,`, gvk.Kind, gv.String())}
	c.machinery = sync.OnceValue(c.newMachinery)
	if d.crd.Spec.Conversion.Strategy == apiextensionsv1.WebhookConverter {
		return batching{c}
	}
	return c
}

func (c *codec) New() runtime.Object {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(c.d.gvk(c.gv))
	return u
}

func (c *codec) NewList() runtime.Object {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(c.list)
	return list
}

// Decode prunes and defaults a stored document by the schema of the version it was
// stored in, then converts it. Its metadata was checked when it was written.
func (c *codec) Decode(document []byte) (runtime.Object, error) {
	u, err := c.read(document)
	if err != nil {
		return nil, err
	}
	if u.GroupVersionKind().GroupVersion() == c.gv {
		return u, nil
	}
	out, err := c.convert(u, c.gv)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// read gives a stored document in the version it was stored in.
func (c *codec) read(document []byte) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(document, &u.Object); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", c.d.crd.Name, err)
	}
	s, err := c.d.structural(u.GroupVersionKind().Version)
	if err != nil {
		return nil, err
	}
	if _, err := coerceContent(u.Object, s, false); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", c.d.crd.Name, err)
	}
	structuraldefaulting.Default(u.Object, s)
	return u, nil
}

// convert gives an object, which it may change, in another version.
func (c *codec) convert(u *unstructured.Unstructured, gv schema.GroupVersion) (*unstructured.Unstructured, error) {
	with, err := c.d.converters()
	if err != nil {
		return nil, err
	}
	converted, err := with.unsafe.ConvertToVersion(u, gv)
	if err != nil {
		return nil, err
	}
	out, ok := converted.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("converting %s to %s gave a %T", c.d.crd.Name, gv, converted)
	}
	_, err = c.d.coerce(out, false)
	return out, err
}

// batching is a codec whose conversions are requests to a webhook.
type batching struct{ *codec }

// DecodeMany converts all that are of another version in one request.
func (b batching) DecodeMany(documents [][]byte) ([]runtime.Object, error) {
	out := make([]runtime.Object, len(documents))
	list, places := &unstructured.UnstructuredList{}, []int{}
	for i, document := range documents {
		u, err := b.read(document)
		if err != nil {
			return nil, err
		}
		out[i] = u
		if u.GroupVersionKind().GroupVersion() != b.gv {
			list.Items, places = append(list.Items, *u), append(places, i)
		}
	}
	if len(places) == 0 {
		return out, nil
	}
	with, err := b.d.converters()
	if err != nil {
		return nil, err
	}
	list.SetGroupVersionKind(b.list)
	converted, err := with.unsafe.ConvertToVersion(list, b.gv)
	if err != nil {
		return nil, err
	}
	done, ok := converted.(*unstructured.UnstructuredList)
	if !ok || len(done.Items) != len(places) {
		return nil, fmt.Errorf("converting %d of %s to %s gave a %T", len(places), b.d.crd.Name, b.gv, converted)
	}
	for j, i := range places {
		u := &done.Items[j]
		if _, err := b.d.coerce(u, false); err != nil {
			return nil, err
		}
		out[i] = u
	}
	return out, nil
}

// Encode converts to the storage version.
func (c *codec) Encode(hub runtime.Object) ([]byte, error) {
	u, ok := hub.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("encoding %s: expected an unstructured object, got %T", c.d.crd.Name, hub)
	}
	storage := c.d.storage()
	if u.GroupVersionKind().GroupVersion() != storage {
		var err error
		if u, err = c.convert(u.DeepCopy(), storage); err != nil {
			return nil, err
		}
	}
	return resource.CanonicalJSON(u, c.d.gvk(storage))
}

// As is Decode: in memory and shown are the same.
func (c *codec) As(document []byte, _ schema.GroupVersion) (runtime.Object, error) {
	return c.Decode(document)
}

// Direct walks over a document that it has not seen yet.
func (c *codec) Direct(document []byte, _ uint64, _ schema.GroupVersion) bool {
	if !bytes.HasPrefix(document, c.prefix) {
		return false
	}
	schemas, err := c.d.schemas()
	if err != nil || schemas[c.gv.Version] == nil {
		return false
	}
	return c.seen.of(document, schemas[c.gv.Version].shape.fits)
}
