package informer

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Options are what informers read.
type Options struct {
	// View gives the view that holds a resource.
	View func(proto.GroupResource) *statelog.View
	// Barrier brings the view to everything that was acknowledged before the call.
	Barrier func(context.Context, proto.GroupResource) (uint64, error)
	// Open decrypts an object of a sealed kind.
	Open func(key proto.Key, sealed []byte) ([]byte, error)
	// Registry knows the kinds.
	Registry *resource.Registry
	// Patience is how long a Get of an object waits for somebody who is about to make
	// it; nil: nobody is.
	Patience func(key proto.Key) time.Duration
	Logger   *zap.Logger
}

// Factory makes informers. It satisfies client-go's informers.SharedInformerFactory.
// Safe for concurrent use.
type Factory struct {
	groups
	o      Options
	ctx    context.Context //nolint:containedctx // client-go's listers pass none; this one ends with the factory
	cancel context.CancelFunc

	told     atomic.Pointer[[]*registration] // replaced under mu
	handlers sync.WaitGroup

	mu        sync.Mutex
	informers map[schema.GroupVersionResource]*informer
}

var _ informers.SharedInformerFactory = (*Factory)(nil)

// New makes a factory whose informers live until ctx ends.
func New(ctx context.Context, o Options) *Factory {
	f := &Factory{o: o, informers: map[schema.GroupVersionResource]*informer{}}
	f.ctx, f.cancel = context.WithCancel(ctx)
	f.groups.factory = f
	return f
}

// InformerFor gives the informer of an object's type, which client-go's scheme must
// know. The function that would make one with a client is not used.
func (f *Factory) InformerFor(obj runtime.Object, _ internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	kinds, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil || len(kinds) == 0 {
		panic(fmt.Sprintf("client-go asks for an informer of a type that it does not know: %T", obj))
	}
	plural, _ := meta.UnsafeGuessKindToResource(kinds[0])
	return f.informer(plural, reflect.TypeOf(obj).Elem())
}

// ForResource gives the informer of a resource that is served: of typed objects
// where it is built in, of unstructured ones where it is custom.
func (f *Factory) ForResource(gvr schema.GroupVersionResource) (informers.GenericInformer, error) {
	kind := f.o.Registry.Find(gvr)
	if kind == nil {
		return nil, fmt.Errorf("no informer found for %v", gvr)
	}
	if kind.Custom {
		return generic{f.informer(gvr, nil), gvr.GroupResource()}, nil
	}
	obj, err := scheme.Scheme.New(kind.ServedKind(gvr.GroupVersion()))
	if err != nil {
		return nil, fmt.Errorf("no informer found for %v: %w", gvr, err)
	}
	return generic{f.informer(gvr, reflect.TypeOf(obj).Elem()), gvr.GroupResource()}, nil
}

// generic is client-go's informers.GenericInformer.
type generic struct {
	informer *informer
	gr       schema.GroupResource
}

func (g generic) Informer() cache.SharedIndexInformer { return g.informer }
func (g generic) Lister() cache.GenericLister {
	return cache.NewGenericLister(g.informer.GetIndexer(), g.gr)
}

func (f *Factory) informer(gvr schema.GroupVersionResource, typ reflect.Type) *informer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := f.informers[gvr]; i != nil {
		return i
	}
	i := newInformer(f, gvr, typ)
	f.informers[gvr] = i
	return i
}

// InformerName is for metrics, which these informers have none of.
func (f *Factory) InformerName() *cache.InformerName { return nil }

// Start does nothing: informers read from the moment that somebody asks.
func (f *Factory) Start(<-chan struct{}) {}

// StartWithContext does nothing, as Start.
func (f *Factory) StartWithContext(context.Context) {}

// Shutdown ends all handlers and waits for them. It may be called more than once.
func (f *Factory) Shutdown() {
	f.mu.Lock() // a handler is added before, and waited for, or refused
	f.cancel()
	f.mu.Unlock()
	f.handlers.Wait()
}

// WaitForCacheSync waits until the views hold what was in the log at the start.
func (f *Factory) WaitForCacheSync(stop <-chan struct{}) map[reflect.Type]bool {
	return f.WaitForCacheSyncWithContext(wait.ContextForChannel(stop)).Synced
}

// WaitForCacheSyncWithContext is WaitForCacheSync with a context.
func (f *Factory) WaitForCacheSyncWithContext(ctx context.Context) cache.SyncResult {
	result := cache.SyncResult{Synced: map[reflect.Type]bool{}}
	for _, i := range f.all() {
		err := i.view().Ready(ctx)
		if err != nil {
			result.Err = context.Cause(ctx)
		}
		if i.typ != nil {
			result.Synced[reflect.PointerTo(i.typ)] = err == nil
		}
	}
	return result
}

// Tell tells every handler what it has not heard of yet, so that who calls it meets
// handlers that know every write that this process acknowledged before. Where there
// is nothing to tell, it costs a look at each watch.
func (f *Factory) Tell() {
	if handlers := f.told.Load(); handlers != nil {
		for _, r := range *handlers {
			r.tell()
		}
	}
}

func (f *Factory) all() []*informer {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*informer, 0, len(f.informers))
	for _, i := range f.informers {
		out = append(out, i)
	}
	return out
}

// follow runs a registration's goroutine; it says false when the factory has ended.
func (f *Factory) follow(r *registration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return false
	}
	f.handlers.Go(r.run)
	f.change(func(all []*registration) []*registration { return append(all, r) })
	return true
}

// forget ends a registration.
func (f *Factory) forget(r *registration) {
	r.cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.change(func(all []*registration) []*registration {
		return slices.DeleteFunc(all, func(other *registration) bool { return other == r })
	})
}

// change replaces the list of registrations; mu is held.
func (f *Factory) change(fn func([]*registration) []*registration) {
	var all []*registration
	if before := f.told.Load(); before != nil {
		all = slices.Clone(*before)
	}
	all = fn(all)
	f.told.Store(&all)
}
