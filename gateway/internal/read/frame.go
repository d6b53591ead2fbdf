package read

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"

	"kubus.dev/proto/statelog"
)

// framer writes watch events in one shape.
type framer struct {
	c           *collection
	s           shape
	contentType string
	table       *table
	ctx         context.Context // of the request: upstream's printers ask for one
}

func (c *collection) newFramer(req *http.Request, s shape) (*framer, error) {
	f := &framer{c: c, s: s, contentType: s.mediaType, ctx: req.Context()}
	if s.format == formatProtobuf {
		f.contentType += ";stream=watch"
	}
	if s.transform == asTable {
		var err error
		if f.table, err = c.newTable(req, s); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// event appends one event's frame.
func (f *framer) event(dst []byte, t statelog.EventType, e *statelog.Entry) ([]byte, error) {
	if f.s.format == formatProtobuf {
		gvk, raw, err := f.protobuf(e)
		if err != nil {
			return dst, err
		}
		return appendProtobufEvent(dst, t.String(), gvk, raw), nil
	}
	start := len(dst)
	dst = append(dst, `{"type":"`...)
	dst = append(dst, t.String()...)
	dst = append(dst, `","object":`...)
	var err error
	switch {
	case f.s.transform == asPartial:
		dst = f.c.enc.partialJSON(dst, e, f.s.meta)
	case f.s.transform == asTable:
		var doc []byte
		if doc, err = f.table.object(f.ctx, e); err == nil {
			dst = append(dst, bytes.TrimSuffix(doc, []byte("\n"))...)
			f.table.options.NoHeaders = true // as upstream: only the first event has the columns
		}
	default:
		dst, err = f.c.enc.appendJSON(dst, e)
	}
	if err != nil {
		return dst[:start], err
	}
	return append(dst, "}\n"...), nil
}

func (f *framer) protobuf(e *statelog.Entry) (schema.GroupVersionKind, []byte, error) {
	if f.s.transform == asPartial {
		raw, err := f.c.enc.partialProtobuf(e)
		return f.s.meta.WithKind("PartialObjectMetadata"), raw, err
	}
	raw, err := f.c.enc.protobuf(e)
	return f.c.enc.gvk, raw, err
}

// bookmark appends a BOOKMARK; initialEnd marks the one that ends the initial events.
// As upstream's, its object is an empty one of the hub as the served version shows it.
func (f *framer) bookmark(dst []byte, revision uint64, initialEnd bool) ([]byte, bool) {
	hub := f.c.kind.Codec.New()
	accessor, err := meta.Accessor(hub)
	if err != nil {
		return dst, false
	}
	accessor.SetResourceVersion(strconv.FormatUint(revision, 10))
	if initialEnd {
		accessor.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	switch {
	case f.s.list:
		return dst, false // nothing in a stream of objects is a list
	case f.s.transform == asTable:
		return f.tableBookmark(dst, hub, accessor)
	case f.s.transform == asPartial:
		return f.object(dst, "BOOKMARK", f.s.meta.WithKind("PartialObjectMetadata"), meta.AsPartialObjectMetadata(accessor))
	}
	obj, err := f.c.types.UnsafeConvertor.ConvertToVersion(hub, f.c.gv)
	if err != nil {
		return dst, false
	}
	return f.object(dst, "BOOKMARK", f.c.enc.gvk, obj)
}

// tableBookmark is a table of the empty object. Its row has the metadata, and also
// the object only where that was asked for.
func (f *framer) tableBookmark(dst []byte, hub runtime.Object, m metav1.Object) ([]byte, bool) {
	made, err := f.c.kind.Tables.ConvertToTable(f.ctx, hub, f.table.options)
	if err != nil || len(made.Rows) != 1 {
		return dst, false
	}
	row := &made.Rows[0].Object
	switch initialEnd := len(m.GetAnnotations()) > 0; {
	case f.table.options.IncludeObject == metav1.IncludeObject:
		if row.Object, err = f.c.types.UnsafeConvertor.ConvertToVersion(hub, f.c.gv); err != nil {
			return dst, false
		}
		row.Object.GetObjectKind().SetGroupVersionKind(f.c.enc.gvk)
	case f.table.options.IncludeObject == metav1.IncludeNone && !initialEnd:
		row.Object = nil
	default:
		partial := meta.AsPartialObjectMetadata(m)
		partial.SetGroupVersionKind(f.s.meta.WithKind("PartialObjectMetadata"))
		row.Object = partial
	}
	f.table.options.NoHeaders = true // as upstream: only the first event has the columns
	made.ResourceVersion = m.GetResourceVersion()
	return f.object(dst, "BOOKMARK", f.s.meta.WithKind("Table"), made)
}

// failure appends an ERROR event with the error's Status.
func (f *framer) failure(dst []byte, err error) ([]byte, bool) {
	status := responsewriters.ErrorToAPIStatus(err)
	return f.object(dst, "ERROR", schema.GroupVersionKind{Version: "v1", Kind: "Status"}, status)
}

func (f *framer) object(dst []byte, eventType string, gvk schema.GroupVersionKind, obj runtime.Object) ([]byte, bool) {
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	if dst == nil {
		dst = []byte{}
	}
	if f.s.format == formatProtobuf {
		m, ok := obj.(marshaler)
		if !ok {
			return dst, false
		}
		raw, err := m.Marshal()
		if err != nil {
			return dst, false
		}
		return appendProtobufEvent(dst, eventType, gvk, raw), true
	}
	var out bytes.Buffer
	if err := versionedJSON.Encode(obj, &out); err != nil {
		return dst, false
	}
	return fmt.Appendf(dst, `{"type":%q,"object":%s}`+"\n", eventType, bytes.TrimSuffix(out.Bytes(), []byte("\n"))), true
}

// frameLength is how many bytes of a protobuf frame say how long it is.
const frameLength = 4

// appendProtobufEvent appends a frame of upstream's protobuf stream: four bytes of
// length, then a WatchEvent message without envelope, its object with one.
func appendProtobufEvent(dst []byte, eventType string, gvk schema.GroupVersionKind, raw []byte) []byte {
	dst = appendProtobufEventHead(dst, eventType, gvk, len(raw))
	dst = append(dst, raw...)
	return appendEnvelopeEnd(dst)
}

// appendProtobufEventHead appends such a frame up to its object's message, which is n
// bytes long and followed by the envelope's end.
func appendProtobufEventHead(dst []byte, eventType string, gvk schema.GroupVersionKind, n int) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = appendProtoString(dst, 1, eventType)
	envelope := appendEnvelope(nil, gvk, n)
	end := len(appendEnvelopeEnd(nil))
	body := len(envelope) + n + end
	dst = append(dst, 2<<3|2)
	dst = binary.AppendUvarint(dst, uint64(1+varintLen(body)+body))
	dst = append(dst, 1<<3|2)
	dst = binary.AppendUvarint(dst, uint64(body))
	dst = append(dst, envelope...)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-frameLength+n+end))
	return dst
}
