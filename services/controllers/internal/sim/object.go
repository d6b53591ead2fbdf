package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func stamp() string { return metav1.NewTime(time.Now()).UTC().Format(time.RFC3339) }

func meta(o object) object { return field(o, "metadata") }

func field(o object, name string) object {
	out, _ := o[name].(object)
	return out
}

func revisionOf(o object) (revision uint64) {
	fmt.Sscan(meta(o)["resourceVersion"].(string), &revision)
	return revision
}

func keyOf(o object) types.NamespacedName {
	namespace, _ := meta(o)["namespace"].(string)
	return types.NamespacedName{Namespace: namespace, Name: meta(o)["name"].(string)}
}

// clone copies an object and its metadata.
func clone(o object) object {
	out := maps.Clone(o)
	if out == nil {
		return object{}
	}
	if m, ok := out["metadata"].(object); ok {
		out["metadata"] = maps.Clone(m)
	}
	return out
}

func typed[T any](o object) *T {
	if o == nil {
		return nil
	}
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	out := new(T)
	if err := json.Unmarshal(data, out); err != nil {
		panic(err)
	}
	return out
}

func untyped(from any) object {
	data, err := json.Marshal(from)
	if err != nil {
		panic(err)
	}
	var out object
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}
