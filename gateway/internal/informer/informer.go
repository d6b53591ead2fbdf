package informer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// informer is one resource, as one of its versions: client-go's SharedIndexInformer.
type informer struct {
	factory *Factory
	gvr     schema.GroupVersionResource
	gr      proto.GroupResource
	typ     reflect.Type // of the objects; nil: what the kind's codec makes
	kept    kept

	mu       sync.Mutex
	indexers cache.Indexers
}

func newInformer(f *Factory, gvr schema.GroupVersionResource, typ reflect.Type) *informer {
	return &informer{
		factory: f, gvr: gvr, gr: proto.GroupResource{Group: gvr.Group, Resource: gvr.Resource}, typ: typ,
		indexers: cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc},
	}
}

func (i *informer) view() *statelog.View { return i.factory.o.View(i.gr) }

// decoded is the object of an entry, decoded once for as long as it is kept.
func (i *informer) decoded(e *statelog.Entry) (runtime.Object, error) {
	kind := i.factory.o.Registry.Load().Of(i.gr)
	if kind == nil {
		return nil, fmt.Errorf("decoding %s: nobody serves its kind", e.Key())
	}
	if obj := i.kept.get(e, kind); obj != nil {
		return obj, nil
	}
	obj, err := i.decode(kind, e)
	if err != nil {
		return nil, fmt.Errorf("decoding %s: %w", e.Key(), err)
	}
	i.kept.put(e, kind, obj)
	return obj, nil
}

func (i *informer) decode(kind *resource.Kind, e *statelog.Entry) (runtime.Object, error) {
	if kind.Sealed {
		data, err := i.factory.o.Open(e.Key(), e.Data())
		if err != nil {
			return nil, err
		}
		e = statelog.NewEntry(e.Key(), e.Revision(), data, e.Deleted())
	}
	gv := i.gvr.GroupVersion()
	if i.typ == nil || !kind.Codec.Direct(e.Data(), e.Revision(), gv) {
		return kind.Codec.As(e.JSON(), gv)
	}
	obj, ok := reflect.New(i.typ).Interface().(runtime.Object)
	if !ok {
		return nil, fmt.Errorf("%v is no object", i.typ)
	}
	return obj, json.Unmarshal(e.JSON(), obj)
}

// AddEventHandler tells the handler of what is there and of what will be.
func (i *informer) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(h, cache.HandlerOptions{})
}

// AddEventHandlerWithResyncPeriod is AddEventHandler: nothing is told twice.
func (i *informer) AddEventHandlerWithResyncPeriod(h cache.ResourceEventHandler, _ time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(h, cache.HandlerOptions{})
}

// AddEventHandlerWithOptions is AddEventHandler: no option changes anything here.
func (i *informer) AddEventHandlerWithOptions(h cache.ResourceEventHandler, _ cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	r := newRegistration(i, h)
	if !i.factory.follow(r) {
		return nil, errors.New("a handler was added to an informer that has stopped")
	}
	return r, nil
}

// RemoveEventHandler ends a handler; a call of it under way may still end.
func (i *informer) RemoveEventHandler(handle cache.ResourceEventHandlerRegistration) error {
	if r, ok := handle.(*registration); ok {
		i.factory.forget(r)
	}
	return nil
}

// GetStore is GetIndexer.
func (i *informer) GetStore() cache.Store { return i.GetIndexer() }

// GetIndexer reads the view.
func (i *informer) GetIndexer() cache.Indexer { return indexer{i} }

// AddIndexers makes further indexes known. They are computed at each question.
func (i *informer) AddIndexers(more cache.Indexers) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for name := range more {
		if i.indexers[name] != nil {
			return fmt.Errorf("indexer conflict: %s", name)
		}
	}
	for name, fn := range more {
		i.indexers[name] = fn
	}
	return nil
}

// GetController is deprecated and nobody's.
func (i *informer) GetController() cache.Controller { return nil }

// Run waits for the end: the informer needs nobody to run it.
func (i *informer) Run(stop <-chan struct{}) { i.RunWithContext(wait.ContextForChannel(stop)) }

// RunWithContext is Run with a context.
func (i *informer) RunWithContext(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-i.factory.ctx.Done():
	}
}

// HasSynced says whether the view holds what was in the log at the start.
func (i *informer) HasSynced() bool { return i.view().IsReady() }

// HasSyncedChecker is HasSynced as a channel.
func (i *informer) HasSyncedChecker() cache.DoneChecker {
	done := make(chan struct{})
	if i.HasSynced() {
		close(done)
	} else {
		i.factory.handlers.Go(func() {
			if i.view().Ready(i.factory.ctx) == nil {
				close(done)
			}
		})
	}
	return checker{i.gvr.String(), done}
}

// LastSyncResourceVersion is how far the view has read.
func (i *informer) LastSyncResourceVersion() string { return fmt.Sprint(i.view().Revision()) }

// SetWatchErrorHandler has nothing to do: no watch can fail.
func (i *informer) SetWatchErrorHandler(cache.WatchErrorHandler) error { return nil }

// SetWatchErrorHandlerWithContext has nothing to do, as SetWatchErrorHandler.
func (i *informer) SetWatchErrorHandlerWithContext(cache.WatchErrorHandlerWithContext) error {
	return nil
}

// SetTransform is refused: what is read is what the log has.
func (i *informer) SetTransform(cache.TransformFunc) error {
	return errors.New("informers over the state log do not transform")
}

// IsStopped says whether the factory has ended.
func (i *informer) IsStopped() bool { return i.factory.ctx.Err() != nil }

// checker is cache.DoneChecker.
type checker struct {
	name string
	done <-chan struct{}
}

func (c checker) Name() string          { return c.name }
func (c checker) Done() <-chan struct{} { return c.done }
