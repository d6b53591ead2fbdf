package resource

import (
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Upstream keeps built-in kinds as protobuf, which knows no empty list: one that was
// written comes back as none, and where its field is always shown as null. An absent
// value of binary data comes back empty. What is stored as JSON keeps such things, so
// that they are evened out before.

// hollow is what of a Go type can be so, and what is below its fields.
type hollow struct {
	clear  []int // lists and maps that are shown even when there is nothing in them
	bytes  []int // map[string][]byte
	nested []nested
}

type nested struct {
	field int
	*hollow
}

var binaryData = reflect.TypeFor[map[string][]byte]()

// hollowOf looks for fields of the names that are shown; nil: there are none.
func hollowOf(t reflect.Type, shown map[string]bool) *hollow {
	return findHollow(t, shown, map[reflect.Type]bool{})
}

func findHollow(t reflect.Type, shown map[string]bool, within map[reflect.Type]bool) *hollow {
	if t.Kind() != reflect.Struct || within[t] {
		return nil
	}
	within[t] = true
	defer delete(within, t)
	out := &hollow{}
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case !f.IsExported():
			continue
		case f.Type == binaryData:
			out.bytes = append(out.bytes, i)
		case isCollection(f.Type) && shown[f.Name]:
			out.clear = append(out.clear, i)
		}
		if below := findHollow(elementOf(f.Type), shown, within); below != nil {
			out.nested = append(out.nested, nested{i, below})
		}
	}
	if len(out.clear)+len(out.bytes)+len(out.nested) == 0 {
		return nil
	}
	return out
}

// isCollection: bytes are a value.
func isCollection(t reflect.Type) bool {
	return t.Kind() == reflect.Map || t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8
}

// elementOf is what a pointer leads to, or a list or a list of pointers.
func elementOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// alwaysShown are the names of lists and maps in a versioned type that JSON shows also
// when they are empty.
func alwaysShown(t reflect.Type, within map[reflect.Type]bool, names map[string]bool) {
	if t.Kind() != reflect.Struct || within[t] {
		return
	}
	within[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if !f.IsExported() || tag == "-" {
			continue
		}
		if isCollection(f.Type) && !strings.Contains(tag, "omitempty") && !strings.Contains(tag, "inline") {
			names[f.Name] = true
		}
		alwaysShown(elementOf(f.Type), within, names)
	}
}

// asJSONUpstream are the groups whose objects upstream keeps as JSON.
var asJSONUpstream = map[string]bool{apiextensionsV1.Group: true, apiregistrationV1.Group: true}

// hollowOfKind finds what of a built-in kind is to be evened out.
func hollowOfKind(k *Kind) *hollow {
	if asJSONUpstream[k.GVR.Group] {
		return nil
	}
	versioned, err := Scheme.New(k.GVK)
	if err != nil {
		panic("the scheme has no " + k.GVK.String())
	}
	shown := map[string]bool{}
	alwaysShown(reflect.TypeOf(versioned).Elem(), map[reflect.Type]bool{}, shown)
	return hollowOf(reflect.TypeOf(k.New()).Elem(), shown)
}

// even changes obj as a journey through protobuf would.
func (h *hollow) even(obj runtime.Object) {
	if h != nil {
		h.evenOut(reflect.ValueOf(obj).Elem())
	}
}

func (h *hollow) evenOut(v reflect.Value) {
	for _, i := range h.clear {
		if f := v.Field(i); f.Len() == 0 && !f.IsNil() {
			f.SetZero()
		}
	}
	for _, i := range h.bytes {
		f := v.Field(i)
		for it := f.MapRange(); it.Next(); {
			if it.Value().IsNil() {
				f.SetMapIndex(it.Key(), reflect.ValueOf([]byte{}))
			}
		}
	}
	for _, n := range h.nested {
		n.each(v.Field(n.field))
	}
}

func (n nested) each(v reflect.Value) {
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			n.each(v.Index(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			n.evenOut(v.Elem())
		}
	default:
		n.evenOut(v)
	}
}
