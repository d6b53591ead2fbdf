package read

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"

	"kubus.dev/gateway/internal/continuation"
	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

func (c *collection) list(w http.ResponseWriter, req *http.Request, info *request.RequestInfo) error {
	// As upstream: what cannot be streamed is told after what is wrong in the query.
	s, err := c.negotiate(req, false)
	if err != nil {
		return err
	}
	options, err := c.listOptions(req, info)
	if err != nil {
		return err
	}
	if options.Watch {
		if s, err = c.negotiate(req, true); err != nil {
			return err
		}
		return c.watch(w, req, s, info.Namespace, options)
	}
	p, err := c.page(req.Context(), info.Namespace, options)
	if err != nil {
		return err
	}
	return c.respondList(w, req, s, p)
}

// events are the one kind that upstream keeps no memory of.
var events = proto.GroupResource{Resource: "events"}

// page is what one list request answers with: entries of one point in time.
type page struct {
	revision  uint64
	entries   []*statelog.Entry
	size      int       // of the entries' stored bytes
	began     time.Time // when the first page was made
	next      string
	remaining *int64
}

// page selects the entries, as the request's resourceVersion, limit and continue ask.
func (c *collection) page(ctx context.Context, ns string, options *internalversion.ListOptions) (*page, error) {
	sel := c.selector(ns, options)
	p := &page{began: time.Now()}
	stored, after, err := c.pointInTime(ctx, p, options)
	if err != nil {
		return nil, err
	}
	p.revision = stored.Revision()
	limit := int(options.Limit)
	if options.ResourceVersion == "0" && options.Continue == "" && c.gr != events {
		limit = 0 // as upstream: served from memory, whole
	}
	if err := c.fill(p, sel, c.beside(stored), after, limit); err != nil {
		return nil, err
	}
	return p, nil
}

// position is a place in the order of namespace and name.
type position struct{ ns, name string }

// pointInTime gives the snapshot to list, and behind which object to begin.
func (c *collection) pointInTime(ctx context.Context, p *page, options *internalversion.ListOptions) (statelog.Snapshot, position, error) {
	none := statelog.Snapshot{}
	if options.Continue != "" {
		return c.continued(ctx, p, options)
	}
	revision, err := parseRevision(options.ResourceVersion)
	if err != nil {
		return none, position{}, err
	}
	exact := options.ResourceVersionMatch == metav1.ResourceVersionMatchExact ||
		options.ResourceVersionMatch == "" && options.Limit > 0 && revision > 0
	switch {
	case options.ResourceVersion == "":
		err = c.current(ctx)
	case revision > 0:
		err = c.atLeast(ctx, revision)
	}
	if err != nil {
		return none, position{}, err
	}
	if exact {
		s, ok := c.exact(revision)
		if !ok {
			err = apierrors.NewResourceExpired(listExpired)
		}
		return s, position{}, err
	}
	return c.view.Snapshot(c.gr), position{}, nil
}

// exact gives the collection as it was at a revision that the view has reached, if
// it is still known.
func (c *collection) exact(revision uint64) (statelog.Snapshot, bool) {
	if s, ok := c.pages.at(c.gr, revision); ok {
		return s, true
	}
	s, err := c.view.SnapshotAt(c.gr, revision)
	return s, err == nil
}

// continued finds the snapshot that a token belongs to, and its place.
func (c *collection) continued(ctx context.Context, p *page, options *internalversion.ListOptions) (statelog.Snapshot, position, error) {
	none := statelog.Snapshot{}
	t, err := continuation.Decode(options.Continue, c.kind.Namespaced)
	if err != nil {
		return none, position{}, err
	}
	if options.ResourceVersion != "" && options.ResourceVersion != "0" {
		return none, position{}, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	after := position{t.Namespace, t.Name}
	if t.Revision < 0 { // continuation.Latest
		if err := c.current(ctx); err != nil {
			return none, position{}, err
		}
		return c.view.Snapshot(c.gr), after, nil
	}
	p.began = t.Began
	// Another gateway may have begun the list and be ahead.
	if err := c.atLeast(ctx, uint64(t.Revision)); err != nil {
		return none, position{}, err
	}
	if time.Since(t.Began) < c.o.PageTTL {
		if s, ok := c.exact(uint64(t.Revision)); ok {
			return s, after, nil
		}
	}
	return none, position{}, t.Expired()
}

// fill takes the selected entries behind after, at most limit of them (0: all).
func (c *collection) fill(p *page, sel *selector, from snapshot, after position, limit int) error {
	var broken []unreadable
	var more int64
	take := func(e *statelog.Entry) bool {
		if limit > 0 && len(p.entries) == limit {
			more++
			return sel.all() // what remains is counted only when it can be told
		}
		if !sel.matches(e) {
			return true
		}
		key := e.Key()
		e, err := c.opened(e)
		if err != nil {
			broken = append(broken, unreadable{key, err})
			return len(broken) < mostUnreadable
		}
		p.entries = append(p.entries, e)
		p.size += len(e.Data())
		return true
	}
	switch {
	case sel.name != "" && (sel.ns != "" || !c.kind.Namespaced):
		if e := from.Get(sel.ns, sel.name); e != nil {
			take(e)
		}
	case limit == 0 && after == (position{}) && from.HasIndex(sel.index):
		from.ByIndex(sel.index, sel.value, take)
	default:
		from.AscendAfter(sel.ns, after.ns, after.name, take)
	}
	if len(broken) > 0 {
		return storeReadError(c.kind.GroupResource(), broken)
	}
	if more == 0 {
		return nil
	}
	last := p.entries[len(p.entries)-1].Key()
	p.next = continuation.Token{Namespace: last.Namespace, Name: last.Name, Revision: int64(p.revision), Began: p.began}.Encode()
	if sel.all() {
		p.remaining = &more
	}
	c.pages.keep(c.gr, from.Snapshot, after == position{})
	return nil
}

func (c *collection) respondList(w http.ResponseWriter, req *http.Request, s shape, p *page) error {
	if s.transform == asPartial {
		if err := c.partialKindFits(req, true); err != nil {
			return err
		}
	}
	produce, err := c.producer(req, s, p)
	if err != nil {
		return err
	}
	// What a webhook has to convert may fail at any item: nothing is sent before the last.
	_, batch := c.kind.Codec.(resource.Batch)
	if s.format == formatYAML || s.pretty || p.size < chunk || batch {
		body, err := produce(nil, whole{})
		if err != nil {
			return err
		}
		return respond(w, req, s, body)
	}
	if req.Method == http.MethodHead {
		w.Header().Set("Content-Type", s.mediaType)
		return nil
	}
	// From the first byte on, an error can only cut the answer short.
	if err := stream(w, req, s, p.size, produce); err != nil {
		c.o.Logger.Debug("a list was cut short", errorField(err))
		panic(http.ErrAbortHandler)
	}
	return nil
}

// producer appends an answer to buf and hands what it has to the sink now and then.
type producer func(buf []byte, to sink) ([]byte, error)

// producer writes the page in the shape asked for.
func (c *collection) producer(req *http.Request, s shape, p *page) (producer, error) {
	switch {
	case s.transform == asTable:
		t, err := c.newTable(req, s)
		if err != nil {
			return nil, err
		}
		return func(buf []byte, to sink) ([]byte, error) { return t.list(req.Context(), buf, p, to) }, nil
	case s.format == formatProtobuf && s.transform == asPartial:
		return c.protobufList(p, s.meta.WithKind("PartialObjectMetadataList"), c.enc.partialProtobuf), nil
	case s.format == formatProtobuf:
		return c.protobufList(p, c.kind.ServedListKind(c.gv), c.enc.protobuf), nil
	case s.transform == asPartial:
		return jsonList(p, s.meta.WithKind("PartialObjectMetadataList"), noAhead, func(dst []byte, e *statelog.Entry) ([]byte, error) {
			return c.enc.partialJSON(dst, e, s.meta), nil
		}, nil), nil
	}
	return jsonList(p, c.kind.ServedListKind(c.gv), c.ahead(p).encode, c.enc.appendItem, c.enc.splitItem), nil
}

// jsonList writes a list of items; before is told of each entry's place before it is
// written. split, if there is one, gives a large item in two parts, the second shared.
func jsonList(p *page, gvk schema.GroupVersionKind, before func(i int) error, item func([]byte, *statelog.Entry) ([]byte, error),
	split func([]byte, *statelog.Entry) ([]byte, []byte, bool)) producer {
	return func(buf []byte, to sink) ([]byte, error) {
		buf = fmt.Appendf(buf, `{"kind":%q,"apiVersion":%q,"metadata":`, gvk.Kind, gvk.GroupVersion().String())
		buf = p.appendMeta(buf)
		if len(p.entries) == 0 && gvk.Kind == "PartialObjectMetadataList" {
			return append(buf, `,"items":null}`+"\n"...), nil // as upstream's: no list was made
		}
		buf = append(buf, `,"items":[`...)
		var err error
		for i, e := range p.entries {
			if i > 0 {
				buf = append(buf, ',')
			}
			if err = before(i); err != nil {
				return buf, apierrors.NewInternalError(err)
			}
			if split != nil && len(e.Data()) >= spliced {
				if head, rest, ok := split(buf, e); ok {
					buf = to.pass(head, rest)
					continue
				}
			}
			if buf, err = item(buf, e); err != nil {
				return buf, apierrors.NewInternalError(err)
			}
			buf = to.emit(buf)
		}
		return append(buf, "]}\n"...), nil
	}
}

// appendMeta appends the list's metadata.
func (p *page) appendMeta(dst []byte) []byte {
	dst = append(dst, `{"resourceVersion":"`...)
	dst = strconv.AppendUint(dst, p.revision, 10)
	dst = append(dst, '"')
	if p.next != "" {
		dst = append(dst, `,"continue":"`...)
		dst = append(dst, p.next...)
		dst = append(dst, '"')
	}
	if p.remaining != nil {
		dst = append(dst, `,"remainingItemCount":`...)
		dst = strconv.AppendInt(dst, *p.remaining, 10)
	}
	return append(dst, '}')
}

// protobufList writes a list message: all of Kubernetes' list types are ListMeta
// as field 1 and items as field 2.
func (c *collection) protobufList(p *page, gvk schema.GroupVersionKind, item func(*statelog.Entry) ([]byte, error)) producer {
	return func(buf []byte, to sink) ([]byte, error) {
		meta := metav1.ListMeta{ResourceVersion: strconv.FormatUint(p.revision, 10), Continue: p.next, RemainingItemCount: p.remaining}
		head, err := meta.Marshal()
		if err != nil {
			return buf, apierrors.NewInternalError(err)
		}
		// The envelope begins with the message's length, so the items come first.
		items := make([][]byte, len(p.entries))
		size := 1 + varintLen(len(head)) + len(head)
		for i, e := range p.entries {
			if items[i], err = item(e); err != nil {
				return buf, apierrors.NewInternalError(err)
			}
			size += 1 + varintLen(len(items[i])) + len(items[i])
		}
		buf = appendEnvelope(buf, gvk, size)
		buf = append(buf, 1<<3|2)
		buf = binary.AppendUvarint(buf, uint64(len(head)))
		buf = append(buf, head...)
		for _, it := range items {
			buf = append(buf, 2<<3|2)
			buf = binary.AppendUvarint(buf, uint64(len(it)))
			if len(it) >= spliced {
				buf = to.pass(buf, it)
				continue
			}
			buf = to.emit(append(buf, it...))
		}
		return appendEnvelopeEnd(buf), nil
	}
}
