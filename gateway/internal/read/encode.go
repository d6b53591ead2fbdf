package read

import (
	"bytes"
	"encoding/binary"
	stdjson "encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	kjson "sigs.k8s.io/json"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto/skim"
	"kubus.dev/proto/statelog"
)

// form names what is derived from an entry. Forms of a version are told apart by
// the version's place in the kind's row.
type form uint16

const (
	formOpened form = iota + 1
	formPartialProtobuf
	formFields
	formNode
	formRow
	formVersionJSON     form = 0x100 // + version
	formVersionProtobuf form = 0x200 // + version
)

// encoder writes entries of one kind as one served version.
type encoder struct {
	kind    *resource.Kind
	gv      schema.GroupVersion
	gvk     schema.GroupVersionKind
	version form
	stored  []byte
	served  []byte
	cache   *cache
	// plain marks entries that are direct. A kind never changes, nor does an entry.
	plain *statelog.Mark
}

func newEncoder(kind *resource.Kind, gv schema.GroupVersion, cache *cache) *encoder {
	e := &encoder{kind: kind, gv: gv, gvk: kind.ServedKind(gv), cache: cache, plain: &statelog.Mark{}}
	e.stored, e.served = typePrefix(kind.GVK), typePrefix(e.gvk)
	for i, served := range kind.Served {
		if served == gv {
			e.version = form(i)
		}
	}
	return e
}

// typePrefix is how a canonical document begins.
func typePrefix(gvk schema.GroupVersionKind) []byte {
	return fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,`, gvk.Kind, gvk.GroupVersion().String())
}

// appendJSON appends an object as a document of its own.
func (e *encoder) appendJSON(dst []byte, entry *statelog.Entry) ([]byte, error) {
	if e.direct(entry) {
		return entry.AppendJSON(dst), nil
	}
	doc, err := e.versionJSON(entry)
	return append(dst, doc...), err
}

// direct says whether the stored document is what the served version shows.
func (e *encoder) direct(entry *statelog.Entry) bool {
	if entry.Noted(e.plain) {
		return true
	}
	is := e.kind.Codec.Direct(entry.Data(), entry.Revision(), e.gv)
	if is {
		entry.Note(e.plain)
	}
	return is
}

// appendItem appends an object as an item of a list. As upstream's, items of a typed
// list carry neither kind nor apiVersion; those of a custom kind's list do.
func (e *encoder) appendItem(dst []byte, entry *statelog.Entry) ([]byte, error) {
	if e.kind.Custom {
		return e.appendJSON(dst, entry)
	}
	if e.direct(entry) {
		data := entry.Data()
		offset, empty := entry.Splice()
		if offset > len(e.stored) && bytes.HasPrefix(data, e.stored) {
			dst = append(dst, '{')
			return statelog.AppendWithRevision(dst, data[len(e.stored):], offset-len(e.stored), empty, entry.Revision()), nil
		}
		return entry.AppendJSON(dst), nil
	}
	doc, err := e.versionJSON(entry)
	if bytes.HasPrefix(doc, e.served) {
		dst = append(dst, '{')
		doc = doc[len(e.served):]
	}
	return append(dst, doc...), err
}

// versionForm is that of JSON in the served version.
func (e *encoder) versionForm() form { return formVersionJSON + e.version }

func (e *encoder) versionJSON(entry *statelog.Entry) ([]byte, error) {
	item, err := e.cache.get(e.kind, entry, e.versionForm(), func() (cacheItem, error) {
		obj, err := e.decode(entry)
		if err != nil {
			return cacheItem{}, err
		}
		if e.kind.Custom {
			return e.customJSON(entry, obj)
		}
		var out bytes.Buffer
		if err := versionedJSON.Encode(obj, &out); err != nil {
			return cacheItem{}, fmt.Errorf("encoding %s: %w", entry.Key(), err)
		}
		return cacheItem{bytes: bytes.TrimSuffix(out.Bytes(), []byte("\n"))}, nil
	})
	return item.bytes, err
}

var versionedJSON = json.NewSerializerWithOptions(json.DefaultMetaFactory, resource.Scheme, resource.Scheme, json.SerializerOptions{})

// customJSON is the canonical form of a custom object as this version shows it.
func (e *encoder) customJSON(entry *statelog.Entry, obj runtime.Object) (cacheItem, error) {
	doc, err := resource.CanonicalJSON(obj, e.gvk)
	if err != nil {
		return cacheItem{}, fmt.Errorf("encoding %s: %w", entry.Key(), err)
	}
	return cacheItem{bytes: statelog.NewEntry(entry.Key(), entry.Revision(), doc, false).JSON()}, nil
}

// decode gives the object in the served version, its type set.
func (e *encoder) decode(entry *statelog.Entry) (runtime.Object, error) {
	obj, err := e.kind.Codec.As(entry.JSON(), e.gv)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", entry.Key(), err)
	}
	return obj, nil
}

// internal gives the object as the hub has it.
func (e *encoder) internal(entry *statelog.Entry) (runtime.Object, error) {
	return e.kind.Codec.Decode(entry.JSON())
}

type marshaler interface{ Marshal() ([]byte, error) }

// protobuf gives the object's message without the envelope.
func (e *encoder) protobuf(entry *statelog.Entry) ([]byte, error) {
	item, err := e.cache.get(e.kind, entry, formVersionProtobuf+e.version, func() (cacheItem, error) {
		obj, err := e.decode(entry)
		if err != nil {
			return cacheItem{}, err
		}
		m, ok := obj.(marshaler)
		if !ok {
			return cacheItem{}, fmt.Errorf("encoding %s: %T has no protobuf form", entry.Key(), obj)
		}
		data, err := m.Marshal()
		if err != nil {
			return cacheItem{}, fmt.Errorf("encoding %s: %w", entry.Key(), err)
		}
		return cacheItem{bytes: data}, nil
	})
	return item.bytes, err
}

// partialJSON appends {kind, apiVersion, metadata}.
func (e *encoder) partialJSON(dst []byte, entry *statelog.Entry, gv schema.GroupVersion) []byte {
	dst = fmt.Appendf(dst, `{"kind":"PartialObjectMetadata","apiVersion":%q,"metadata":`, gv.String())
	start := len(dst)
	dst = appendMetadata(dst, entry)
	for _, folded := range e.kind.Folded {
		if bytes.Contains(dst[start:], []byte(folded)) {
			dst = append(dst[:start], withoutAnnotations(dst[start:], e.kind.Folded)...)
			break
		}
	}
	return append(dst, '}')
}

// withoutAnnotations gives an object's metadata without some annotations; what cannot
// be read stays as it is.
func withoutAnnotations(metadata []byte, names []string) []byte {
	var m metav1.ObjectMeta
	if err := kjson.UnmarshalCaseSensitivePreserveInts(metadata, &m); err != nil {
		return metadata
	}
	for _, name := range names {
		delete(m.Annotations, name)
	}
	out, err := stdjson.Marshal(m)
	if err != nil {
		return metadata
	}
	return out
}

// appendMetadata appends the metadata object with its resourceVersion.
func appendMetadata(dst []byte, entry *statelog.Entry) []byte {
	offset, empty := entry.Splice()
	if offset <= 0 {
		return append(dst, "{}"...)
	}
	data := entry.Data()
	end := skim.End(data, offset-1)
	if end < 0 { // the log holds only valid JSON
		return append(dst, "{}"...)
	}
	return statelog.AppendWithRevision(dst, data[offset-1:end], 1, empty, entry.Revision())
}

// partialProtobuf gives a PartialObjectMetadata message without the envelope.
func (e *encoder) partialProtobuf(entry *statelog.Entry) ([]byte, error) {
	item, err := e.cache.get(e.kind, entry, formPartialProtobuf, func() (cacheItem, error) {
		partial := &metav1.PartialObjectMetadata{}
		doc := e.partialJSON(nil, entry, metav1.SchemeGroupVersion)
		if err := kjson.UnmarshalCaseSensitivePreserveInts(doc, partial); err != nil {
			return cacheItem{}, fmt.Errorf("decoding the metadata of %s: %w", entry.Key(), err)
		}
		data, err := partial.Marshal()
		if err != nil {
			return cacheItem{}, fmt.Errorf("encoding the metadata of %s: %w", entry.Key(), err)
		}
		return cacheItem{bytes: data}, nil
	})
	return item.bytes, err
}

// protobufMagic begins every document in Kubernetes' protobuf format.
const protobufMagic = "k8s\x00"

// appendEnvelope appends the magic and a runtime.Unknown around a message of n
// bytes, which the caller appends next; then appendEnvelopeEnd.
func appendEnvelope(dst []byte, gvk schema.GroupVersionKind, n int) []byte {
	apiVersion := gvk.GroupVersion().String()
	dst = append(dst, protobufMagic...)
	inner := 1 + varintLen(len(apiVersion)) + len(apiVersion) + 1 + varintLen(len(gvk.Kind)) + len(gvk.Kind)
	dst = append(dst, 1<<3|2)
	dst = binary.AppendUvarint(dst, uint64(inner))
	dst = appendProtoString(dst, 1, apiVersion)
	dst = appendProtoString(dst, 2, gvk.Kind)
	dst = append(dst, 2<<3|2)
	return binary.AppendUvarint(dst, uint64(n))
}

// appendEnvelopeEnd appends the envelope's empty contentEncoding and contentType.
func appendEnvelopeEnd(dst []byte) []byte {
	return append(dst, 3<<3|2, 0, 4<<3|2, 0)
}

func appendProtoString(dst []byte, field byte, s string) []byte {
	dst = append(dst, field<<3|2)
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func varintLen(n int) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutUvarint(b[:], uint64(n))
}
