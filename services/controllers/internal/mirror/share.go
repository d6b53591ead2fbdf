package mirror

import "reflect"

// share has to hold what is equal in from once: pods of one owner differ in a name, an
// address and a few times, and the versions of an object in less. Neither is modified
// by anybody, so what they share is safe to share.
func share(from, to reflect.Value) {
	if !to.CanSet() {
		return // a field that only its own package knows
	}
	switch to.Kind() {
	case reflect.Struct:
		for i := range to.NumField() {
			share(from.Field(i), to.Field(i))
		}
	case reflect.String:
		if from.String() == to.String() {
			to.Set(from)
		}
	case reflect.Map:
		if to.Len() > 0 && reflect.DeepEqual(from.Interface(), to.Interface()) {
			to.Set(from)
		}
	case reflect.Pointer:
		switch {
		case from.IsNil() || to.IsNil():
		case reflect.DeepEqual(from.Interface(), to.Interface()):
			to.Set(from)
		default:
			share(from.Elem(), to.Elem())
		}
	case reflect.Slice:
		switch {
		case to.Len() == 0:
		case reflect.DeepEqual(from.Interface(), to.Interface()):
			to.Set(from)
		default:
			for i := range min(from.Len(), to.Len()) {
				share(from.Index(i), to.Index(i))
			}
		}
	}
}
