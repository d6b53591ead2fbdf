package resource

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
)

// settle defaults an object of a built-in kind anew, in place.
func settle(obj runtime.Object, kind *Kind) error {
	versioned, err := Scheme.ConvertToVersion(obj, kind.GVK.GroupVersion())
	if err != nil {
		return fmt.Errorf("converting %s: %w", kind.GVK.Kind, err)
	}
	Scheme.Default(versioned)
	again := kind.New()
	if err := Scheme.Convert(versioned, again, nil); err != nil {
		return fmt.Errorf("converting %s: %w", kind.GVK.Kind, err)
	}
	reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(again).Elem())
	return nil
}

// Document gives what the log keeps of an object: a document that does not change
// when it is read and written. Fields that the kind's strategies left to the
// defaults get them, in obj as well.
func (k *Kind) Document(obj runtime.Object) ([]byte, error) {
	if err := k.Settle(obj); err != nil {
		return nil, err
	}
	return k.Codec.Encode(obj)
}

// Settle gives obj what it would have once it was stored and read.
func (k *Kind) Settle(obj runtime.Object) error {
	k.hollow.even(obj)
	if !k.Unsettled {
		return nil
	}
	return settle(obj, k)
}
