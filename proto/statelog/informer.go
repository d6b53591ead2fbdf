package statelog

import (
	"context"
	"errors"
	"sync"

	"kubus.dev/proto"
)

// Informer keeps the decoded objects of one resource and tells of changes. It
// reads the view: no request, no copy of the bytes. Objects are shared; nobody
// may change them.
type Informer[T any] struct {
	view   *View
	gr     proto.GroupResource
	synced chan struct{}

	mu       sync.RWMutex
	objects  map[tombKey]*T
	revision uint64
}

// NewInformer makes an informer; nothing happens before Run.
func NewInformer[T any](view *View, gr proto.GroupResource) *Informer[T] {
	return &Informer[T]{view: view, gr: gr, synced: make(chan struct{}), objects: map[tombKey]*T{}}
}

// Run decodes what is there, calling onChange(nil, object) for each, then follows
// the changes: (nil, new), (old, new), (old, nil) with old the last state known.
// When the watch falls behind it compares and goes on. One call of onChange at a
// time; it may be nil. Run ends with ctx.
func (i *Informer[T]) Run(ctx context.Context, onChange func(old, new *T)) error {
	if onChange == nil {
		onChange = func(_, _ *T) {}
	}
	if err := i.view.Ready(ctx); err != nil {
		return err
	}
	for {
		if err := i.follow(ctx, onChange); !errors.Is(err, ErrExpired) {
			return err
		}
	}
}

func (i *Informer[T]) follow(ctx context.Context, onChange func(old, new *T)) error {
	snap := i.view.Snapshot(i.gr)
	seen := make(map[tombKey]bool, snap.Len())
	var failure error
	snap.Ascend("", func(e *Entry) bool {
		seen[tombKey{e.key.Namespace, e.key.Name}] = true
		failure = errors.Join(failure, i.set(e, onChange))
		return true
	})
	if failure != nil {
		return failure
	}
	i.mu.RLock()
	var gone []tombKey
	for k := range i.objects {
		if !seen[k] {
			gone = append(gone, k)
		}
	}
	i.mu.RUnlock()
	for _, k := range gone {
		i.remove(k, onChange)
	}
	i.progress(snap.Revision())
	select {
	case <-i.synced:
	default:
		close(i.synced)
	}
	w, err := i.view.Watch(i.gr, snap.Revision())
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if ev.Type == Deleted {
				i.remove(tombKey{ev.Entry.key.Namespace, ev.Entry.key.Name}, onChange)
			} else if err := i.set(ev.Entry, onChange); err != nil {
				return err
			}
			i.progress(ev.Entry.revision)
		}
	}
}

func (i *Informer[T]) set(e *Entry, onChange func(old, new *T)) error {
	obj, err := Decode[T](e)
	if err != nil {
		return err
	}
	k := tombKey{e.key.Namespace, e.key.Name}
	i.mu.Lock()
	old := i.objects[k]
	i.objects[k] = obj
	i.mu.Unlock()
	onChange(old, obj)
	return nil
}

func (i *Informer[T]) remove(k tombKey, onChange func(old, new *T)) {
	i.mu.Lock()
	old := i.objects[k]
	delete(i.objects, k)
	i.mu.Unlock()
	if old != nil {
		onChange(old, nil)
	}
}

func (i *Informer[T]) progress(revision uint64) {
	i.mu.Lock()
	i.revision = max(i.revision, revision)
	i.mu.Unlock()
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
