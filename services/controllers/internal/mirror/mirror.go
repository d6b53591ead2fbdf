// Package mirror keeps decoded copies of the kinds the controllers work on, fed
// from the state log's views. All controllers of a process share one Kind of each.
//
// Promises: changes are applied and handed to the handlers in the order of the
// log, on one goroutine a kind; a handler sees the mirror at or after its change.
// Objects are shared and must not be modified; their managedFields are left out
// (an update without them keeps those of the server). WaitRevision gives
// read-your-writes: after it, the mirror shows everything up to that revision.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Kind mirrors one collection. Index and Handle are called before Run, the rest
// from any goroutine.
type Kind[T any] struct {
	gr       proto.GroupResource
	indexers map[string]func(*T) []string
	handlers []func(old, new *T)
	synced   chan struct{}

	mu       sync.RWMutex
	objects  map[string]map[string]*T            // namespace, name
	indexes  map[string]map[string]map[string]*T // index, value, namespace/name
	revision uint64
	waiters  []waiter
}

type waiter struct {
	reached func() bool // called with mu held
	done    chan struct{}
}

// New returns an empty mirror of gr.
func New[T any](gr proto.GroupResource) *Kind[T] {
	return &Kind[T]{
		gr:       gr,
		indexers: map[string]func(*T) []string{},
		synced:   make(chan struct{}),
		objects:  map[string]map[string]*T{},
		indexes:  map[string]map[string]map[string]*T{},
	}
}

// Index files every object under the values fn gives for it.
func (k *Kind[T]) Index(name string, fn func(*T) []string) {
	k.indexers[name] = fn
	k.indexes[name] = map[string]map[string]*T{}
}

// Handle has fn called for every change: (nil, new), (old, new) or (old, nil). It
// must not block.
func (k *Kind[T]) Handle(fn func(old, new *T)) { k.handlers = append(k.handlers, fn) }

// Synced is closed when the mirror holds what the log held when Run began.
func (k *Kind[T]) Synced() <-chan struct{} { return k.synced }

// Get returns nil when there is no such object.
func (k *Kind[T]) Get(namespace, name string) *T {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.objects[namespace][name]
}

// List returns the objects of a namespace, or all with namespace "", in no order.
func (k *Kind[T]) List(namespace string) []*T {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var all []*T
	if namespace != "" {
		all = make([]*T, 0, len(k.objects[namespace]))
		for _, object := range k.objects[namespace] {
			all = append(all, object)
		}
		return all
	}
	for _, objects := range k.objects {
		for _, object := range objects {
			all = append(all, object)
		}
	}
	return all
}

// ByIndex returns the objects filed under value, in no order.
func (k *Kind[T]) ByIndex(index, value string) []*T {
	k.mu.RLock()
	defer k.mu.RUnlock()
	filed := k.indexes[index][value]
	all := make([]*T, 0, len(filed))
	for _, object := range filed {
		all = append(all, object)
	}
	return all
}

// WaitRevision returns once a change of this revision or a later one has been
// applied. Only wait for the revision of a change of this very kind.
func (k *Kind[T]) WaitRevision(ctx context.Context, revision uint64) error {
	return k.wait(ctx, func() bool { return k.revision >= revision })
}

// WaitFor returns once holds is true of the named object (nil: absent).
func (k *Kind[T]) WaitFor(ctx context.Context, namespace, name string, holds func(*T) bool) error {
	return k.wait(ctx, func() bool { return holds(k.objects[namespace][name]) })
}

func (k *Kind[T]) wait(ctx context.Context, reached func() bool) error {
	k.mu.Lock()
	if reached() {
		k.mu.Unlock()
		return nil
	}
	w := waiter{reached, make(chan struct{})}
	k.waiters = append(k.waiters, w)
	k.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		k.mu.Lock()
		for i := range k.waiters {
			if k.waiters[i].done == w.done {
				k.waiters = append(k.waiters[:i], k.waiters[i+1:]...)
				break
			}
		}
		k.mu.Unlock()
		return fmt.Errorf("waiting for own write to %s: %w", k.gr, ctx.Err())
	}
}

// Run follows the view until ctx ends.
func (k *Kind[T]) Run(ctx context.Context, view *statelog.View) error {
	if err := view.Ready(ctx); err != nil {
		return fmt.Errorf("mirroring %s: %w", k.gr, err)
	}
	for {
		err := k.follow(ctx, view)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, statelog.ErrExpired): // fell behind: compare with a fresh snapshot
		case err != nil:
			return fmt.Errorf("mirroring %s: %w", k.gr, err)
		}
	}
}

func (k *Kind[T]) follow(ctx context.Context, view *statelog.View) error {
	snapshot := view.Snapshot(k.gr)
	watch, err := view.Watch(k.gr, snapshot.Revision())
	if err != nil {
		return err
	}
	defer watch.Stop()
	if err := k.replace(snapshot); err != nil {
		return err
	}
	for {
		events, err := watch.Next(ctx)
		if err != nil {
			return err
		}
		for _, event := range events {
			key := event.Entry.Key()
			if event.Type == statelog.Deleted {
				k.Drop(event.Entry.Revision(), key.Namespace, key.Name)
				continue
			}
			object, err := statelog.Decode[T](event.Entry)
			if err != nil {
				return fmt.Errorf("decoding %s: %w", key, err)
			}
			k.Put(event.Entry.Revision(), object)
		}
	}
}

// replace makes the mirror equal to the snapshot, reporting only what differs.
func (k *Kind[T]) replace(snapshot statelog.Snapshot) error {
	var failed error
	present := map[[2]string]bool{}
	snapshot.Ascend("", func(entry *statelog.Entry) bool {
		key := entry.Key()
		present[[2]string{key.Namespace, key.Name}] = true
		if old := k.Get(key.Namespace, key.Name); old != nil && meta(old).GetResourceVersion() == fmt.Sprint(entry.Revision()) {
			return true
		}
		object, err := statelog.Decode[T](entry)
		if err != nil {
			failed = fmt.Errorf("decoding %s: %w", key, err)
			return false
		}
		k.Put(entry.Revision(), object)
		return true
	})
	if failed != nil {
		return failed
	}
	for _, object := range k.List("") {
		if m := meta(object); !present[[2]string{m.GetNamespace(), m.GetName()}] {
			k.Drop(snapshot.Revision(), m.GetNamespace(), m.GetName())
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.advance(snapshot.Revision())
	select {
	case <-k.synced:
	default:
		close(k.synced)
	}
	return nil
}

// Put applies a creation or change. Run calls it; tests do so by themselves.
func (k *Kind[T]) Put(revision uint64, object *T) {
	m := meta(object)
	m.SetManagedFields(nil)
	namespace, name := m.GetNamespace(), m.GetName()
	k.mu.Lock()
	old := k.objects[namespace][name]
	if k.objects[namespace] == nil {
		k.objects[namespace] = map[string]*T{}
	}
	k.objects[namespace][name] = object
	k.file(old, object, namespace+"/"+name)
	k.advance(revision)
	k.mu.Unlock()
	if old != nil && meta(old).GetUID() != m.GetUID() { // deleted and made again while we fell behind
		k.notify(old, nil)
		old = nil
	}
	k.notify(old, object)
}

// Drop applies a deletion.
func (k *Kind[T]) Drop(revision uint64, namespace, name string) {
	k.mu.Lock()
	old := k.objects[namespace][name]
	if old != nil {
		delete(k.objects[namespace], name)
		if len(k.objects[namespace]) == 0 {
			delete(k.objects, namespace)
		}
		k.file(old, nil, namespace+"/"+name)
	}
	k.advance(revision)
	k.mu.Unlock()
	if old != nil {
		k.notify(old, nil)
	}
}

// file moves an object between index entries; mu is held.
func (k *Kind[T]) file(old, new *T, key string) {
	for index, fn := range k.indexers {
		values := k.indexes[index]
		if old != nil {
			for _, value := range fn(old) {
				delete(values[value], key)
				if len(values[value]) == 0 {
					delete(values, value)
				}
			}
		}
		if new != nil {
			for _, value := range fn(new) {
				if values[value] == nil {
					values[value] = map[string]*T{}
				}
				values[value][key] = new
			}
		}
	}
}

// advance notes the revision and wakes those who waited; mu is held.
func (k *Kind[T]) advance(revision uint64) {
	k.revision = max(k.revision, revision)
	rest := k.waiters[:0]
	for _, w := range k.waiters {
		if w.reached() {
			close(w.done)
		} else {
			rest = append(rest, w)
		}
	}
	clear(k.waiters[len(rest):])
	k.waiters = rest
}

func (k *Kind[T]) notify(old, new *T) {
	for _, handle := range k.handlers {
		handle(old, new)
	}
}

// meta panics for a T that is no Kubernetes object, which is a broken program.
func meta[T any](object *T) metav1.Object { return any(object).(metav1.Object) }
