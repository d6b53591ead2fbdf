package resource

import (
	"bytes"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
)

// CanonicalJSON gives the document of an unstructured object in the form that the
// log keeps: kind, apiVersion and metadata first, the other fields sorted, without
// resourceVersion. The object is left as it was.
func CanonicalJSON(obj runtime.Object, gvk schema.GroupVersionKind) ([]byte, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("expected an unstructured object, got %T", obj)
	}
	rest := make(map[string]any, len(u.Object))
	for k, v := range u.Object {
		if k != "kind" && k != "apiVersion" && k != "metadata" {
			rest[k] = v
		}
	}
	metadata := map[string]any{}
	if m, ok := u.Object["metadata"].(map[string]any); ok {
		for k, v := range m {
			if k != "resourceVersion" {
				metadata[k] = v
			}
		}
	}
	head, err := json.Marshal(metadata)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", gvk.Kind, err)
	}
	tail, err := json.Marshal(rest)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", gvk.Kind, err)
	}
	out := bytes.NewBuffer(make([]byte, 0, len(head)+len(tail)+96))
	fmt.Fprintf(out, `{"kind":%q,"apiVersion":%q,"metadata":`, gvk.Kind, gvk.GroupVersion().String())
	out.Write(head)
	if len(rest) > 0 {
		out.WriteByte(',')
		tail = tail[1:]
	} else {
		tail = []byte("}")
	}
	out.Write(tail)
	return out.Bytes(), nil
}
