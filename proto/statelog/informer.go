package statelog

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"kubus.dev/proto"
)

// Informer keeps the decoded objects of one resource and tells of changes. It
// reads the view: no request, no copy of the bytes. Objects are shared; nobody
// may change them.
type Informer[T any] struct {
	view   *View
	gr     proto.GroupResource
	log    *zap.Logger
	synced chan struct{}

	mu       sync.RWMutex
	objects  map[tombKey]*T
	revision uint64
}

// NewInformer makes an informer; nothing happens before Run.
func NewInformer[T any](view *View, gr proto.GroupResource, log *zap.Logger) *Informer[T] {
	return &Informer[T]{view: view, gr: gr, log: log, synced: make(chan struct{}), objects: map[tombKey]*T{}}
}

// Run decodes what is there, calling onChange(nil, object) for each, then follows
// the changes: (nil, new), (old, new), (old, nil) with old the last state known.
// When the watch falls behind it compares and goes on. One call of onChange at a
// time; it may be nil. What cannot be decoded is passed over: the last version that
// could be stays. Run ends with ctx.
func (i *Informer[T]) Run(ctx context.Context, onChange func(old, new *T)) error {
	return follow(ctx, i.view, i.gr, func(k proto.Key, e *Entry, revision uint64) { i.take(k, e, revision, onChange) }, func() { close(i.synced) })
}

// take keeps the next version of an object and tells of it.
func (i *Informer[T]) take(k proto.Key, e *Entry, revision uint64, onChange func(old, new *T)) {
	var obj *T
	if e != nil {
		var err error
		if obj, err = Decode[T](e); err != nil {
			i.log.Error("passing over an object that cannot be decoded", zap.Stringer("key", k), zap.Error(err))
			i.mu.Lock()
			i.revision = max(i.revision, revision)
			i.mu.Unlock()
			return
		}
	}
	id := tombKey{k.Namespace, k.Name}
	i.mu.Lock()
	old := i.objects[id]
	if e == nil {
		delete(i.objects, id)
	} else {
		i.objects[id] = obj
	}
	i.revision = max(i.revision, revision)
	i.mu.Unlock()
	if onChange != nil && (old != nil || obj != nil) {
		onChange(old, obj)
	}
}

// Synced is closed when the first pass over the view is done.
func (i *Informer[T]) Synced() <-chan struct{} { return i.synced }

// Revision is the newest change of this resource that the informer shows.
func (i *Informer[T]) Revision() uint64 {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.revision
}

// Get gives an object, or nil.
func (i *Informer[T]) Get(ns, name string) *T {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.objects[tombKey{ns, name}]
}

// List gives the objects of a namespace, or all with "", in no order.
func (i *Informer[T]) List(ns string) []*T {
	i.mu.RLock()
	defer i.mu.RUnlock()
	out := make([]*T, 0, len(i.objects))
	for k, o := range i.objects {
		if ns == "" || k.namespace == ns {
			out = append(out, o)
		}
	}
	return out
}
