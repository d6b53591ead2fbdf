package read

import (
	"bytes"
	"net/http"
	"strconv"

	"kubus.dev/proto/statelog"
)

// spliced is the size from which an object is written from where it is kept instead of
// being copied among others: a client that does not read would otherwise hold a copy of
// it, and thousands of them thousands.
const spliced = 32 << 10

// split appends the beginning of an object's document, up to its resourceVersion, and
// gives the rest, which is shared: together they are appendJSON. ok is false where the
// document is in no memory that is shared.
func (e *encoder) split(dst []byte, entry *statelog.Entry) (head, rest []byte, ok bool) {
	if e.direct(entry) {
		offset, empty := entry.Splice()
		return statelog.AppendWithRevision(dst, entry.Data()[:offset], offset, empty, entry.Revision()), entry.Data()[offset:], true
	}
	doc, err := e.versionJSON(entry)
	return dst, doc, err == nil
}

// splitItem is split of an item of a list: together they are appendItem.
func (e *encoder) splitItem(dst []byte, entry *statelog.Entry) (head, rest []byte, ok bool) {
	prefix := e.served
	if e.direct(entry) {
		prefix = e.stored
	}
	start := len(dst)
	head, rest, ok = e.split(dst, entry)
	if !ok || e.kind.Custom {
		return head, rest, ok
	}
	if begin := head[start:]; len(begin) > len(prefix) && bytes.HasPrefix(begin, prefix) {
		head = append(append(head[:start], '{'), begin[len(prefix):]...)
	} else if len(begin) == 0 && bytes.HasPrefix(rest, prefix) {
		head, rest = append(head, '{'), rest[len(prefix):]
	}
	return head, rest, ok
}

// split appends what of an event's frame stands before the object's bytes, and gives
// those, which are shared, and what ends the frame: together they are event.
func (f *framer) split(dst []byte, t statelog.EventType, e *statelog.Entry) (head, rest []byte, end string, ok bool) {
	if f.s.transform != asObject {
		return dst, nil, "", false
	}
	if f.s.format == formatProtobuf {
		raw, err := f.c.enc.protobuf(e)
		if err != nil {
			return dst, nil, "", false
		}
		return appendProtobufEventHead(dst, t.String(), f.c.enc.gvk, len(raw)), raw, string(appendEnvelopeEnd(nil)), true
	}
	dst = append(dst, `{"type":`...)
	dst = strconv.AppendQuote(dst, t.String())
	dst = append(dst, `,"object":`...)
	head, rest, ok = f.c.enc.split(dst, e)
	return head, rest, "}\n", ok
}

// respondSpliced answers with an object as plain JSON without a copy of it; false where
// the request asks for something else, and nothing was written.
func (c *collection) respondSpliced(w http.ResponseWriter, req *http.Request, s shape, entry *statelog.Entry) bool {
	if s.format != formatJSON || s.transform != asObject || s.pretty || compresses(req) || req.Method == http.MethodHead {
		return false
	}
	head, rest, ok := c.enc.split(nil, entry)
	if !ok {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", s.mediaType)
	h.Set("Content-Length", strconv.Itoa(len(head)+len(rest)+1))
	w.WriteHeader(http.StatusOK)
	for _, part := range [][]byte{head, rest, {'\n'}} {
		if _, err := w.Write(part); err != nil {
			break // the client is gone: nobody is left to be told
		}
	}
	return true
}
