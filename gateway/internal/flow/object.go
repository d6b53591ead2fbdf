package flow

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/client-go/tools/cache"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

var (
	schemas = proto.GroupResource{Group: flowcontrolv1.GroupName, Resource: "flowschemas"}
	levels  = proto.GroupResource{Group: flowcontrolv1.GroupName, Resource: "prioritylevelconfigurations"}
)

// objects are the FlowSchemas and priority levels that act.
type objects struct{ schemas, levels *follower }

func newObjects(view ViewFunc) *objects {
	var fs, pl []runtime.Object
	for _, o := range bootstrap.SuggestedFlowSchemas {
		fs = append(fs, o)
	}
	for _, o := range bootstrap.SuggestedPriorityLevelConfigurations {
		pl = append(pl, o)
	}
	return &objects{
		schemas: newFollower(view(schemas), schemas, fs, decode[flowcontrolv1.FlowSchema]),
		levels:  newFollower(view(levels), levels, pl, decode[flowcontrolv1.PriorityLevelConfiguration]),
	}
}

func (o *objects) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return o.schemas.run(ctx) })
	group.Go(func() error { return o.levels.run(ctx) })
	return group.Wait()
}

func decode[T any, P interface {
	*T
	runtime.Object
}](e *statelog.Entry) (runtime.Object, error) {
	o, err := statelog.Decode[T](e)
	return P(o), err
}

// follower keeps one kind's objects as the view has them, and a suggested object of
// upstream's where the view has none of that name: upstream writes a suggested object
// again within a minute of its deletion, so its absence never lasts. It is as much of
// a cache.SharedIndexInformer as the library uses; the rest of the interface is nil.
type follower struct {
	cache.SharedIndexInformer

	view      *statelog.View
	gr        proto.GroupResource
	suggested map[string]runtime.Object
	decode    func(*statelog.Entry) (runtime.Object, error)
	store     cache.Indexer
	synced    chan struct{}

	mu       sync.Mutex
	handlers []cache.ResourceEventHandler
}

func newFollower(view *statelog.View, gr proto.GroupResource, suggested []runtime.Object, decode func(*statelog.Entry) (runtime.Object, error)) *follower {
	f := &follower{
		view: view, gr: gr, suggested: map[string]runtime.Object{}, decode: decode,
		store: cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil), synced: make(chan struct{}),
	}
	for _, o := range suggested {
		if m, err := meta.Accessor(o); err == nil {
			f.suggested[m.GetName()] = o
		}
	}
	return f
}

// AddEventHandler has a handler told of changes; those before Run are not told.
func (f *follower) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handlers = append(f.handlers, h)
	return nil, nil
}

// HasSynced says whether everything that was in the view is here.
func (f *follower) HasSynced() bool {
	select {
	case <-f.synced:
		return true
	default:
		return false
	}
}

func (f *follower) run(ctx context.Context) error {
	for name, o := range f.suggested {
		f.put(name, o)
	}
	return statelog.Follow(ctx, f.view, f.gr, f.change, func() { close(f.synced) })
}

// change takes a version. One that cannot be read leaves the last one in force.
func (f *follower) change(k proto.Key, e *statelog.Entry) {
	if e == nil {
		f.put(k.Name, f.suggested[k.Name])
		return
	}
	if o, err := f.decode(e); err == nil {
		f.put(k.Name, o)
	}
}

// put makes o what has the name, nil nothing, and tells of it.
func (f *follower) put(name string, o runtime.Object) {
	old, had, _ := f.store.GetByKey(name) // an indexer without indexes does not fail
	switch {
	case o != nil:
		_ = f.store.Update(o)
	case had:
		_ = f.store.Delete(old)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.handlers {
		switch {
		case o != nil && had && old != f.suggested[name]: // of another object: one in the log has a status
			h.OnUpdate(old, o)
		case o != nil:
			h.OnAdd(o, !f.HasSynced())
		case had:
			h.OnDelete(old)
		}
	}
}
