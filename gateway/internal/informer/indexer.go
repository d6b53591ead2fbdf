package informer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// lookTimeout bounds the second look of a Get that found nothing.
const lookTimeout = 5 * time.Second

// errReadOnly is what writing to an indexer gives: the log is written elsewhere.
var errReadOnly = errors.New("an informer over the state log cannot be written to")

// indexer is client-go's Indexer over a view.
type indexer struct{ *informer }

// GetByKey gives the object of "namespace/name", or of "name" without a namespace.
func (x indexer) GetByKey(key string) (any, bool, error) {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return nil, false, err
	}
	e := x.view().Get(x.gr, namespace, name)
	if e == nil {
		if e, err = x.look(namespace, name); err != nil {
			return nil, false, err
		}
	}
	if e == nil {
		return nil, false, nil
	}
	obj, err := x.decoded(e)
	return obj, err == nil, err
}

// look looks again behind a barrier, and then for as long as somebody may be about
// to make the object.
func (x indexer) look(namespace, name string) (*statelog.Entry, error) {
	ctx, cancel := context.WithTimeout(x.factory.ctx, lookTimeout)
	defer cancel()
	view := x.view()
	if _, err := x.factory.o.Barrier(ctx, x.gr); err != nil {
		return nil, err
	}
	after := view.Revision()
	if e := view.Get(x.gr, namespace, name); e != nil || x.factory.o.Patience == nil {
		return e, nil
	}
	patience := x.factory.o.Patience(proto.Key{GroupResource: x.gr, Namespace: namespace, Name: name})
	if patience == 0 {
		return nil, nil
	}
	ctx, cancel = context.WithTimeout(ctx, patience)
	defer cancel()
	watch, err := view.Watch(x.gr, after)
	if err != nil {
		return view.Get(x.gr, namespace, name), nil
	}
	defer watch.Stop()
	for {
		if e := view.Get(x.gr, namespace, name); e != nil {
			return e, nil
		}
		if _, err := watch.Next(ctx); err != nil {
			return view.Get(x.gr, namespace, name), nil
		}
	}
}

// Get gives the newest version of an object.
func (x indexer) Get(obj any) (any, bool, error) {
	key, err := cache.MetaNamespaceKeyFunc(obj)
	if err != nil {
		return nil, false, err
	}
	return x.GetByKey(key)
}

// List gives all objects, in the order of namespace and name.
func (x indexer) List() []any { return x.in("") }

// in gives the objects of a namespace, all with "". An object that cannot be decoded
// is left out and logged: it stands in nobody else's way.
func (x indexer) in(namespace string) []any {
	var out []any
	x.view().Snapshot(x.gr).Ascend(namespace, func(e *statelog.Entry) bool {
		obj, err := x.decoded(e)
		if err != nil {
			x.factory.o.Logger.Error("stored object cannot be read", zap.Stringer("key", e.Key()), zap.Error(err))
			return true
		}
		out = append(out, obj)
		return true
	})
	return out
}

// ListKeys gives the keys of all objects.
func (x indexer) ListKeys() []string {
	var out []string
	x.view().Snapshot(x.gr).Ascend("", func(e *statelog.Entry) bool {
		out = append(out, cache.NewObjectName(e.Key().Namespace, e.Key().Name).String())
		return true
	})
	return out
}

// Index gives the objects that share a value of the index with obj.
func (x indexer) Index(name string, obj any) ([]any, error) {
	fn, err := x.index(name)
	if err != nil {
		return nil, err
	}
	values, err := fn(obj)
	if err != nil {
		return nil, err
	}
	if name == cache.NamespaceIndex && len(values) == 1 && values[0] != "" {
		return x.in(values[0]), nil
	}
	return x.scan(fn, func(has []string) bool {
		return slices.ContainsFunc(has, func(v string) bool { return slices.Contains(values, v) })
	})
}

// ByIndex gives the objects that have the value.
func (x indexer) ByIndex(name, value string) ([]any, error) {
	fn, err := x.index(name)
	if err != nil {
		return nil, err
	}
	if name == cache.NamespaceIndex && value != "" {
		return x.in(value), nil
	}
	return x.scan(fn, func(has []string) bool { return slices.Contains(has, value) })
}

// IndexKeys gives the keys of the objects that have the value.
func (x indexer) IndexKeys(name, value string) ([]string, error) {
	objects, err := x.ByIndex(name, value)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(objects))
	for _, obj := range objects {
		key, err := cache.MetaNamespaceKeyFunc(obj)
		if err != nil {
			return nil, err
		}
		out = append(out, key)
	}
	return out, nil
}

// ListIndexFuncValues gives all values of an index, sorted; none of an unknown one.
func (x indexer) ListIndexFuncValues(name string) []string {
	fn, err := x.index(name)
	if err != nil {
		return nil
	}
	all := sets.New[string]()
	_, _ = x.scan(fn, func(has []string) bool { // what has no values adds none
		all.Insert(has...)
		return false
	})
	return sets.List(all)
}

func (x indexer) index(name string) (cache.IndexFunc, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if fn := x.indexers[name]; fn != nil {
		return fn, nil
	}
	return nil, fmt.Errorf("there is no index %q", name)
}

// scan gives the objects whose values of an index are wanted.
func (x indexer) scan(fn cache.IndexFunc, wanted func([]string) bool) ([]any, error) {
	var out []any
	for _, obj := range x.List() {
		values, err := fn(obj)
		if err != nil {
			return nil, err
		}
		if wanted(values) {
			out = append(out, obj)
		}
	}
	return out, nil
}

// GetIndexers gives the indexes that are known.
func (x indexer) GetIndexers() cache.Indexers {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make(cache.Indexers, len(x.indexers))
	for name, fn := range x.indexers {
		out[name] = fn
	}
	return out
}

// LastStoreSyncResourceVersion is how far the view has read.
func (x indexer) LastStoreSyncResourceVersion() string {
	return strconv.FormatUint(x.view().Revision(), 10)
}

// Bookmark has nothing to do: the view knows how far it is.
func (x indexer) Bookmark(string) {}

// Add is refused, as all writes are.
func (x indexer) Add(any) error { return errReadOnly }

// Update is refused.
func (x indexer) Update(any) error { return errReadOnly }

// Delete is refused.
func (x indexer) Delete(any) error { return errReadOnly }

// Replace is refused.
func (x indexer) Replace([]any, string) error { return errReadOnly }

// Resync has nothing to do.
func (x indexer) Resync() error { return nil }
