package custom

import (
	"bytes"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// shape is a structural schema reduced to what tells, of a JSON document, whether
// pruning or defaulting by the schema would change it. It says so of bytes, without
// decoding them, and never says "unchanged" of what would change. Of the rest it may
// err: whoever is told "changed" decodes.
type shape struct {
	fields   map[string]*shape
	extra    *shape // of fields that are not named; nil: they are pruned
	items    *shape
	defaults int  // how many of fields have a default
	byself   bool // has a default, so it must be there and counts in its parent
	nullable bool
	opaque   bool // cannot be told from bytes
}

// anything is the shape of what nothing below can change.
var anything = func() *shape {
	s := &shape{nullable: true}
	s.items, s.extra = s, s
	return s
}()

// nothing is the shape of a value that no schema describes: objects lose all fields.
var nothing = func() *shape {
	s := &shape{nullable: true}
	s.items = s
	return s
}()

// shapeOf makes the shape of a schema; nil describes nothing.
func shapeOf(s *structuralschema.Structural) *shape {
	if s == nil {
		return nothing
	}
	out := &shape{nullable: s.Nullable, byself: s.Default.Object != nil, opaque: s.XEmbeddedResource}
	switch {
	case s.Items != nil:
		out.items = shapeOf(s.Items)
		if s.XPreserveUnknownFields {
			out.items = opened(out.items)
		}
	case s.XPreserveUnknownFields:
		out.items = anything
	default:
		out.items = nothing
	}
	if a := s.AdditionalProperties; a != nil {
		out.extra = shapeOf(a.Structural)
	} else if s.XPreserveUnknownFields {
		out.extra = anything
	}
	if len(s.Properties) > 0 {
		out.fields = make(map[string]*shape, len(s.Properties))
	}
	for name, prop := range s.Properties {
		field := shapeOf(&prop)
		out.fields[name] = field
		if field.byself {
			out.defaults++
		}
	}
	return out
}

// opened is s where the schema above keeps unknown fields of its items.
func opened(s *shape) *shape {
	out := *s
	if out.extra == nil {
		out.extra = anything
	}
	if out.items == nothing {
		out.items = anything
	}
	return &out
}

// rootField says that a field is the type's own and not the schema's.
func rootField(name []byte) bool {
	switch string(name) {
	case "kind", "apiVersion", "metadata":
		return true
	}
	return false
}

// fits says that document, a whole object as the log keeps it, is unchanged by
// pruning and defaulting.
func (s *shape) fits(document []byte) bool {
	w := walker{data: document}
	return w.object(s, true) && w.at == len(document)
}

// walker is a place in compact JSON, which the gateway itself has written.
type walker struct {
	data []byte
	at   int
}

func (w *walker) value(s *shape) bool {
	if w.at >= len(w.data) || s.opaque {
		return false
	}
	switch w.data[w.at] {
	case '{':
		return w.object(s, false)
	case '[':
		return w.array(s)
	case '"':
		_, ok := w.text()
		return ok
	case 'n':
		return s.nullable && w.scalar()
	}
	return w.scalar()
}

func (w *walker) object(s *shape, root bool) bool {
	if !w.take('{') {
		return false
	}
	defaults := 0
	for !w.take('}') {
		name, ok := w.text()
		// A name that is written with escapes is not looked up.
		if !ok || !w.take(':') || len(s.fields) > 0 && bytes.IndexByte(name, '\\') >= 0 {
			return false
		}
		of := s.extra
		if field, known := s.fields[string(name)]; known {
			of = field
			if field.byself {
				defaults++
			}
		}
		if root && rootField(name) {
			of = anything
		}
		if of == nil || !w.value(of) {
			return false
		}
		if !w.take(',') && !w.peek('}') {
			return false
		}
	}
	return defaults == s.defaults
}

func (w *walker) array(s *shape) bool {
	if !w.take('[') {
		return false
	}
	for !w.take(']') {
		if !w.value(s.items) {
			return false
		}
		if !w.take(',') && !w.peek(']') {
			return false
		}
	}
	return true
}

// text gives the content of a string as it is written, and moves behind it.
func (w *walker) text() ([]byte, bool) {
	if !w.take('"') {
		return nil, false
	}
	start := w.at
	for w.at < len(w.data) {
		switch w.data[w.at] {
		case '"':
			w.at++
			return w.data[start : w.at-1], true
		case '\\':
			w.at++ // and what it escapes
		}
		w.at++
	}
	return nil, false
}

// scalar moves behind a number, a boolean or null.
func (w *walker) scalar() bool {
	start := w.at
	for w.at < len(w.data) && w.data[w.at] != ',' && w.data[w.at] != '}' && w.data[w.at] != ']' {
		w.at++
	}
	return w.at > start
}

func (w *walker) peek(c byte) bool { return w.at < len(w.data) && w.data[w.at] == c }

func (w *walker) take(c byte) bool {
	if !w.peek(c) {
		return false
	}
	w.at++
	return true
}
