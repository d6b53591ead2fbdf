package mirror

import "reflect"

// share has to hold what is equal in from once: pods of one owner differ in a name, an
// address and a few times, and the versions of an object in less. So it does with what an
// object says more than once, such as the labels of a template and the selector of them.
// Neither is modified by anybody, so what they share is safe to share.
func share(from, to reflect.Value) {
	var s sharing
	s.share(from, to)
}

// sharing is the maps of the object that are its own.
type sharing struct{ own []reflect.Value }

func (s *sharing) share(from, to reflect.Value) {
	if !to.CanSet() {
		return // a field that only its own package knows
	}
	switch to.Kind() {
	case reflect.Struct:
		for i := range to.NumField() {
			s.share(from.Field(i), to.Field(i))
		}
	case reflect.String:
		if from.String() == to.String() {
			to.Set(from)
		}
	case reflect.Map:
		if to.Len() == 0 {
			return
		}
		for _, other := range append(s.own, from) {
			if other.Type() == to.Type() && reflect.DeepEqual(other.Interface(), to.Interface()) {
				to.Set(other)
				return
			}
		}
		s.own = append(s.own, to)
	case reflect.Pointer:
		switch {
		case to.IsNil():
		case from.IsNil():
			s.share(reflect.Zero(to.Type().Elem()), to.Elem())
		case reflect.DeepEqual(from.Interface(), to.Interface()):
			to.Set(from)
		default:
			s.share(from.Elem(), to.Elem())
		}
	case reflect.Slice:
		switch {
		case to.Len() == 0:
		case reflect.DeepEqual(from.Interface(), to.Interface()):
			to.Set(from)
		default:
			for i := range min(from.Len(), to.Len()) {
				s.share(from.Index(i), to.Index(i))
			}
		}
	}
}
