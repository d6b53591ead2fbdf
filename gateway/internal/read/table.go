package read

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversionscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1beta1/validation"
	"k8s.io/apimachinery/pkg/runtime"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto/statelog"
)

// table renders entries as kubectl's columns, by upstream's printers.
type table struct {
	c       *collection
	s       shape
	options *metav1.TableOptions
	ahead   *ahead // nil: entries are decoded one by one
}

func (c *collection) newTable(req *http.Request, s shape) (*table, error) {
	options := &metav1.TableOptions{}
	if req.URL.RawQuery != "" {
		if err := metainternalversionscheme.ParameterCodec.DecodeParameters(req.URL.Query(), metav1.SchemeGroupVersion, options); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	switch errs := validation.ValidateTableOptions(options); len(errs) {
	case 0:
	case 1:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: %v", errs[0].Error()))
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: %v", errs))
	}
	return &table{c: c, s: s, options: options}, nil
}

// object renders one entry as a whole Table document.
func (t *table) object(ctx context.Context, e *statelog.Entry) ([]byte, error) {
	return t.document(ctx, nil, fmt.Appendf(nil, `{"resourceVersion":"%d"}`, e.Revision()), []*statelog.Entry{e}, whole{})
}

func (t *table) list(ctx context.Context, buf []byte, p *page, to sink) ([]byte, error) {
	t.ahead = t.c.ahead(p)
	entries, err := t.inOrder(p.entries)
	if err != nil {
		return buf, apierrors.NewInternalError(err)
	}
	return t.document(ctx, buf, p.appendMeta(nil), entries, to)
}

// inOrder gives entries as the kind orders the rows of a table.
func (t *table) inOrder(entries []*statelog.Entry) ([]*statelog.Entry, error) {
	order := t.c.kind.TableOrder
	if order == nil {
		return entries, nil
	}
	objects := make(map[*statelog.Entry]runtime.Object, len(entries))
	for _, e := range entries {
		obj, err := t.c.enc.internal(e)
		if err != nil {
			return nil, err
		}
		objects[e] = obj
	}
	return slices.SortedStableFunc(slices.Values(entries), func(a, b *statelog.Entry) int { return order(objects[a], objects[b]) }), nil
}

func (t *table) document(ctx context.Context, buf, meta []byte, entries []*statelog.Entry, to sink) ([]byte, error) {
	buf = fmt.Appendf(buf, `{"kind":"Table","apiVersion":%q,"metadata":`, t.s.meta.String())
	buf = append(buf, meta...)
	buf = append(buf, `,"columnDefinitions":`...)
	empty := &metav1.Table{}
	var err error
	// Some printers of upstream's give the columns although nobody wants them.
	if _, ours := t.c.kind.Tables.(resource.Tables); !t.options.NoHeaders || !ours || len(entries) == 0 {
		if empty, err = t.c.kind.Tables.ConvertToTable(ctx, t.c.kind.Codec.NewList(), t.options); err != nil {
			return buf, apierrors.NewInternalError(err)
		}
	}
	encoded, err := json.Marshal(empty.ColumnDefinitions)
	if err != nil {
		return buf, apierrors.NewInternalError(err)
	}
	buf = append(buf, encoded...)
	if len(entries) == 0 && empty.Rows == nil {
		return append(buf, `,"rows":null}`+"\n"...), nil // some printers of upstream's make no list of them
	}
	buf = append(buf, `,"rows":[`...)
	for i, e := range entries {
		if i > 0 {
			buf = append(buf, ',')
		}
		if t.ahead != nil {
			if err := t.ahead.decode(i); err != nil {
				return buf, apierrors.NewInternalError(err)
			}
		}
		if buf, err = t.row(ctx, buf, e); err != nil {
			return buf, apierrors.NewInternalError(err)
		}
		buf = to.emit(buf)
	}
	return append(buf, "]}\n"...), nil
}

// row appends one entry's row.
func (t *table) row(ctx context.Context, buf []byte, e *statelog.Entry) ([]byte, error) {
	row, err := t.printed(ctx, e)
	if err != nil {
		return buf, err
	}
	buf = row.append(buf, time.Now())
	switch t.options.IncludeObject {
	case metav1.IncludeObject:
		buf, err = t.c.enc.appendJSON(buf, e)
	case metav1.IncludeMetadata, "":
		buf = t.c.enc.partialJSON(buf, e, t.s.meta)
	default:
		buf = append(buf, "null"...)
	}
	return append(buf, '}'), err
}

// printed gives an entry's row, which is kept where it depends on the time by its age
// alone.
func (t *table) printed(ctx context.Context, e *statelog.Entry) (row, error) {
	if !aging[t.c.gr] {
		return t.print(ctx, e)
	}
	item, err := t.c.cache.get(t.c.kind, e, formRow, func() (cacheItem, error) {
		r, err := t.print(ctx, e)
		return cacheItem{bytes: r.before, row: &r, brief: r.brief()}, err
	})
	if err != nil {
		return row{}, err
	}
	return *item.row, nil
}

func (t *table) print(ctx context.Context, e *statelog.Entry) (row, error) {
	obj := t.ahead.object(e)
	if obj == nil {
		var err error
		if obj, err = t.c.enc.internal(e); err != nil {
			return row{}, err
		}
	}
	made, err := t.c.kind.Tables.ConvertToTable(ctx, obj, &metav1.TableOptions{NoHeaders: !aging[t.c.gr]})
	if err != nil {
		return row{}, fmt.Errorf("printing %s: %w", e.Key(), err)
	}
	if len(made.Rows) != 1 {
		return row{}, fmt.Errorf("printing %s: got %d rows", e.Key(), len(made.Rows))
	}
	r, err := newRow(made, obj)
	if err != nil {
		return row{}, fmt.Errorf("printing %s: %w", e.Key(), err)
	}
	return r, nil
}
