package statelog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/s2"

	"kubus.dev/proto"
	"kubus.dev/proto/skim"
)

// Entry is one version of one object. It never changes.
type Entry struct {
	key       proto.Key
	revision  uint64
	requestID uint64
	replaces  uint64   // the sequence that the writer expected on the subject
	data      []byte   // the object's JSON, or packed
	model     *s2.Dict // by which data is packed; nil: it is not
	length    int32    // of the JSON when it is packed
	splice    int32    // where metadata's first field begins in the JSON
	empty     bool     // metadata holds no field
	deleted   bool
	created   bool // the writer said so
	chained   bool // replaces is known
	stored    time.Time
	meta      atomic.Pointer[Meta]
	mark      atomic.Pointer[Mark]
}

// Mark is what a reader notes of versions, so that it need not look again; whose it is
// says its address.
type Mark struct{ _ byte }

// NewEntry makes the entry of a message. data is the object's JSON without a
// resourceVersion and is kept, not copied.
func NewEntry(key proto.Key, revision uint64, data []byte, deleted bool) *Entry {
	e := &Entry{key: key, revision: revision, data: data, deleted: deleted, stored: time.Now()}
	e.splice, e.empty = metadataOffset(data)
	return e
}

// Note has the version marked; the last mark stays.
func (e *Entry) Note(m *Mark) { e.mark.Store(m) }

// Noted says whether the version is marked so.
func (e *Entry) Noted(m *Mark) bool { return e.mark.Load() == m }

// Key names the object.
func (e *Entry) Key() proto.Key { return e.key }

// Revision is the resourceVersion: the message's sequence in its stream.
func (e *Entry) Revision() uint64 { return e.revision }

// Deleted says that the object is gone; Data is then its final state.
func (e *Entry) Deleted() bool { return e.deleted }

// Data is the object's JSON without resourceVersion. The caller must not change it. In views
// that keep little it is made anew at each call.
func (e *Entry) Data() []byte { return e.unpacked() }

// Stored is when this process learnt of the version.
func (e *Entry) Stored() time.Time { return e.stored }

// AppendJSON appends the object's JSON with metadata.resourceVersion.
func (e *Entry) AppendJSON(dst []byte) []byte {
	return AppendWithRevision(dst, e.unpacked(), int(e.splice), e.empty, e.revision)
}

// JSON is AppendJSON into a new slice.
func (e *Entry) JSON() []byte { return e.AppendJSON(make([]byte, 0, e.len()+40)) }

// Splice gives where metadata's first field begins in Data (0 when there is no
// metadata object) and whether metadata is empty; for writers of their own encodings.
func (e *Entry) Splice() (offset int, empty bool) { return int(e.splice), e.empty }

// AppendWithRevision appends data with a resourceVersion spliced in at offset.
func AppendWithRevision(dst, data []byte, offset int, empty bool, revision uint64) []byte {
	if offset <= 0 {
		return append(dst, data...)
	}
	dst = append(dst, data[:offset]...)
	dst = append(dst, `"resourceVersion":"`...)
	dst = strconv.AppendUint(dst, revision, 10)
	dst = append(dst, '"')
	if !empty {
		dst = append(dst, ',')
	}
	return append(dst, data[offset:]...)
}

// Meta is what most readers need of an object's metadata.
type Meta struct {
	UID               string            `json:"uid"`
	Generation        int64             `json:"generation"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	Finalizers        []string          `json:"finalizers"`
	DeletionTimestamp string            `json:"deletionTimestamp"`
	OwnerReferences   []OwnerReference  `json:"ownerReferences"`
}

// OwnerReference is metav1.OwnerReference.
type OwnerReference struct {
	APIVersion         string `json:"apiVersion"`
	Kind               string `json:"kind"`
	Name               string `json:"name"`
	UID                string `json:"uid"`
	Controller         bool   `json:"controller"`
	BlockOwnerDeletion bool   `json:"blockOwnerDeletion"`
}

// Controller is the owner that controls the object, or nil.
func (m *Meta) Controller() *OwnerReference {
	for i := range m.OwnerReferences {
		if m.OwnerReferences[i].Controller {
			return &m.OwnerReferences[i]
		}
	}
	return nil
}

// Meta parses the metadata once and keeps it. Callers must not change it.
func (e *Entry) Meta() *Meta {
	if m := e.meta.Load(); m != nil {
		return m
	}
	e.meta.CompareAndSwap(nil, e.ParseMeta())
	return e.meta.Load()
}

// ParseMeta is Meta for who asks once: it is not kept.
func (e *Entry) ParseMeta() *Meta {
	if m := e.meta.Load(); m != nil {
		return m
	}
	m := &Meta{}
	if e.splice > 0 {
		// The metadata object begins one byte before the splice point.
		dec := json.NewDecoder(bytes.NewReader(e.unpacked()[e.splice-1:]))
		if err := dec.Decode(m); err != nil {
			m = &Meta{}
		}
	}
	return m
}

// Decode gives a fresh typed object, resourceVersion included.
func Decode[T any](e *Entry) (*T, error) {
	out := new(T)
	if err := json.Unmarshal(e.JSON(), out); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", e.key, err)
	}
	return out, nil
}

// metadataOffset finds the top-level "metadata" object and gives the offset just
// behind its brace. The scan relies on valid JSON, which the gateway wrote.
func metadataOffset(data []byte) (offset int32, empty bool) {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end := skim.End(data, i)
			if end < 0 {
				return 0, false
			}
			if depth == 1 && end-i == len(`"metadata"`) && string(data[i:end]) == `"metadata"` {
				j := skim.Space(data, end)
				if j < len(data) && data[j] == ':' {
					j = skim.Space(data, j+1)
					if j < len(data) && data[j] == '{' {
						k := skim.Space(data, j+1)
						return int32(j + 1), k < len(data) && data[k] == '}'
					}
				}
			}
			i = end - 1
		}
	}
	return 0, false
}
