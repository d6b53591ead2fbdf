// Package mirror keeps decoded copies of the kinds the controllers work on, fed
// from the state log's views. All controllers of a process share one Kind of each,
// over all terms of leadership.
//
// Promises: a kind is followed from the first time somebody asks for it, never
// before; changes are applied and handed to the handlers in the order of the log,
// one at a time; a handler sees the mirror at or after its change, and hears first
// of all that is there already. Objects are shared and must not be modified; what
// the controllers never read is left out of them: managedFields always, of Pods and
// Secrets more (trim.go), and what they have in common is held once. An object that
// cannot be decoded is counted, logged and passed over. WaitRevision gives
// read-your-writes: after it, nothing up to that revision is missing.
package mirror

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/write"
)

// Patience is how long a wait for an own write lasts; what is late is told as Behind.
const Patience = 10 * time.Second

// Kind mirrors one collection. All methods may be called from any goroutine.
type Kind[T any] struct {
	gvk        schema.GroupVersionKind
	gr         proto.GroupResource
	namespaced bool
	trim       func(*T) // nil: objects are whole
	alike      string   // an index that files alike objects together; empty: any is as good

	wanted atomic.Bool
	want   chan struct{} // closed when somebody follows
	synced chan struct{}

	order sync.Mutex // one change at a time, its handlers included; taken before mu

	mu       sync.RWMutex
	handlers []*handler[T]
	indexers map[string]func(*T) []string
	objects  map[string]map[string]*T            // namespace, name
	indexes  map[string]map[string]map[string]*T // index, value, namespace/name
	last     *T                                  // that came
	revision uint64
	waiters  []waiter
	view     *statelog.View // that is mirrored; nil: somebody else fills the mirror
}

type handler[T any] struct{ fn func(old, new *T) }

type waiter struct {
	reached func() bool // called with mu held
	done    chan struct{}
}

// Follower is a kind of any type.
type Follower interface {
	// Follow has the kind mirrored from now on.
	Follow()
	// Synced is closed when the mirror holds what the log held when following began.
	Synced() <-chan struct{}
	followed() bool
	collection() proto.GroupResource
	// CatchUp waits until the mirror shows all that the log's view holds now: it is not
	// older then than what another mirror of the same view has shown.
	CatchUp(ctx context.Context, views *statelog.Views) error
	run(ctx context.Context, views *statelog.Views, logger *zap.Logger) error
}

// Behind says that an own write is in the log and not yet in the mirror: who decides
// from the mirror now would decide without it.
type Behind struct {
	Kind   string
	caught func() bool
	cause  error
}

func (b *Behind) Error() string {
	return fmt.Sprintf("waiting for own write to %s: %v", b.Kind, b.cause)
}

func (b *Behind) Unwrap() error { return b.cause }

// Caught tells whether the mirror shows the write by now.
func (b *Behind) Caught() bool { return b.caught() }

func newKind[T any](group, version, kind, resource string, namespaced bool) *Kind[T] {
	return &Kind[T]{
		gvk:        schema.GroupVersionKind{Group: group, Version: version, Kind: kind},
		gr:         proto.GroupResource{Group: group, Resource: resource},
		namespaced: namespaced,
		want:       make(chan struct{}),
		synced:     make(chan struct{}),
		indexers:   map[string]func(*T) []string{},
		objects:    map[string]map[string]*T{},
		indexes:    map[string]map[string]map[string]*T{},
	}
}

// GVK is the version the controllers speak and the kind's name.
func (k *Kind[T]) GVK() schema.GroupVersionKind { return k.gvk }

// Resource is the collection's name in the log.
func (k *Kind[T]) Resource() proto.GroupResource { return k.gr }

// Path is where the API has the collection, or with a name the object, or with more
// its subresource. namespace counts for namespaced kinds only.
func (k *Kind[T]) Path(namespace string, name ...string) string {
	if !k.namespaced {
		namespace = ""
	}
	return write.Path(k.gvk.Group, k.gvk.Version, namespace, k.gr.Resource, name...)
}

// Whole tells whether objects here are complete, but for their managedFields; others
// must never be sent as a whole.
func (k *Kind[T]) Whole() bool { return k.trim == nil }

// Follow implements Follower.
func (k *Kind[T]) Follow() {
	if k.wanted.CompareAndSwap(false, true) {
		close(k.want)
	}
}

func (k *Kind[T]) followed() bool { return k.wanted.Load() }

func (k *Kind[T]) collection() proto.GroupResource { return k.gr }

// CatchUp implements Follower. Without views, where a test fills the mirror, it is there.
func (k *Kind[T]) CatchUp(ctx context.Context, views *statelog.Views) error {
	if views == nil {
		return nil
	}
	shown := views.For(k.gr).ChangedAt(k.gr)
	return k.wait(ctx, func() bool { return k.revision >= shown })
}

// Index files every object under the values fn gives for it. An index that is there
// by that name stays as it is.
func (k *Kind[T]) Index(name string, fn func(*T) []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.indexers[name] != nil {
		return
	}
	k.indexers[name] = fn
	k.indexes[name] = map[string]map[string]*T{}
	for namespace, objects := range k.objects {
		for object, present := range objects {
			k.fileUnder(name, nil, present, namespace+"/"+object)
		}
	}
}

// Handle follows the kind and has fn called for every change: (nil, new), (old, new)
// or (old, nil), at first for all that is there, by namespace and name. fn must not block. After stop it is
// called no more.
func (k *Kind[T]) Handle(fn func(old, new *T)) (stop func()) {
	k.Follow()
	k.order.Lock()
	defer k.order.Unlock()
	h := &handler[T]{fn}
	k.mu.Lock()
	k.handlers = append(k.handlers, h)
	k.mu.Unlock()
	for _, object := range k.sorted() {
		fn(nil, object)
	}
	return func() {
		k.order.Lock()
		defer k.order.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		for i := range k.handlers {
			if k.handlers[i] == h {
				k.handlers = append(k.handlers[:i:i], k.handlers[i+1:]...)
				break
			}
		}
	}
}

// Synced implements Follower.
func (k *Kind[T]) Synced() <-chan struct{} { return k.synced }

// asked panics where a kind is read that nobody follows: it would be empty for ever.
func (k *Kind[T]) asked() {
	if !k.wanted.Load() {
		panic(fmt.Sprintf("mirror: %s are read and not followed", k.gr))
	}
}

// Get returns nil when there is no such object.
func (k *Kind[T]) Get(namespace, name string) *T {
	k.asked()
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.objects[namespace][name]
}

// List returns the objects of a namespace, or all with namespace "", in no order.
func (k *Kind[T]) List(namespace string) []*T {
	k.asked()
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

// sorted are all objects by namespace and name.
func (k *Kind[T]) sorted() []*T {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var all []*T
	for _, namespace := range slices.Sorted(maps.Keys(k.objects)) {
		for _, name := range slices.Sorted(maps.Keys(k.objects[namespace])) {
			all = append(all, k.objects[namespace][name])
		}
	}
	return all
}

// ByIndex returns the objects filed under value, in no order.
func (k *Kind[T]) ByIndex(index, value string) []*T {
	k.asked()
	k.mu.RLock()
	defer k.mu.RUnlock()
	filed := k.indexes[index][value]
	all := make([]*T, 0, len(filed))
	for _, object := range filed {
		all = append(all, object)
	}
	return all
}

// WaitRevision returns once a change of this revision is applied, or a later one of the
// same object, or with a *Behind after Patience. Only wait for the revision of a change
// of this very kind.
func (k *Kind[T]) WaitRevision(ctx context.Context, revision uint64) error {
	return k.WaitUntil(ctx, revision, func(func(namespace, name string) *T) bool { return true })
}

// WaitFor returns once holds is true of the named object (nil: absent), or with a
// *Behind after Patience.
func (k *Kind[T]) WaitFor(ctx context.Context, namespace, name string, holds func(*T) bool) error {
	return k.wait(ctx, func() bool { return holds(k.objects[namespace][name]) })
}

// WaitUntil is WaitRevision until also holds is true of the objects that get gives.
func (k *Kind[T]) WaitUntil(ctx context.Context, revision uint64, holds func(get func(namespace, name string) *T) bool) error {
	k.mu.RLock()
	view := k.view
	k.mu.RUnlock()
	shown := revision
	if view != nil {
		ctx, cancel := context.WithTimeout(ctx, Patience)
		err := view.WaitFor(ctx, revision)
		cancel()
		if err != nil {
			return &Behind{Kind: k.gr.String(), cause: err, caught: func() bool {
				k.mu.RLock()
				defer k.mu.RUnlock()
				return view.Revision() >= revision && k.revision >= view.ChangedAt(k.gr)
			}}
		}
		shown = view.ChangedAt(k.gr) // a newer version may have come in the place of the one of revision
	}
	get := func(namespace, name string) *T { return k.objects[namespace][name] }
	return k.wait(ctx, func() bool { return k.revision >= shown && holds(get) })
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
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
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
		return &Behind{Kind: k.gr.String(), cause: ctx.Err(), caught: func() bool {
			k.mu.RLock()
			defer k.mu.RUnlock()
			return reached()
		}}
	}
}

// run mirrors, once somebody follows, until ctx ends.
func (k *Kind[T]) run(ctx context.Context, views *statelog.Views, logger *zap.Logger) error {
	select {
	case <-k.want:
	case <-ctx.Done():
		return nil
	}
	view := views.For(k.gr)
	k.mu.Lock()
	k.view = view
	k.mu.Unlock()
	if err := view.Ready(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("mirroring %s: %w", k.gr, err)
	}
	err := statelog.Changes(ctx, view, k.gr, func(snapshot statelog.Snapshot) { k.replace(snapshot, logger) }, func(events []statelog.Event) {
		for _, event := range events {
			key := event.Entry.Key()
			if event.Type == statelog.Deleted {
				k.Drop(event.Entry.Revision(), key.Namespace, key.Name)
				continue
			}
			k.decode(event.Entry, event.Entry.Revision(), logger)
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("mirroring %s: %w", k.gr, err)
}

// decode puts an entry, after which the mirror shows everything up to revision. An
// entry that is no such object leaves the mirror as it was.
func (k *Kind[T]) decode(entry *statelog.Entry, revision uint64, logger *zap.Logger) {
	object, err := statelog.Decode[T](entry)
	if err != nil {
		undecodable.WithLabelValues(k.gr.String()).Inc()
		logger.Error("passing over an object that cannot be decoded", zap.Stringer("key", entry.Key()), zap.Error(err))
		k.mu.Lock()
		k.advance(revision)
		k.mu.Unlock()
		return
	}
	k.Put(revision, object)
}

// replace makes the mirror equal to the snapshot, reporting only what differs. Until
// it is done the mirror's revision stays where it was: half of a snapshot is none.
func (k *Kind[T]) replace(snapshot statelog.Snapshot, logger *zap.Logger) {
	present := map[[2]string]bool{}
	snapshot.Ascend("", func(entry *statelog.Entry) bool {
		key := entry.Key()
		present[[2]string{key.Namespace, key.Name}] = true
		if old := k.Get(key.Namespace, key.Name); old != nil && meta(old).GetResourceVersion() == fmt.Sprint(entry.Revision()) {
			return true
		}
		k.decode(entry, 0, logger)
		return true
	})
	for _, object := range k.List("") {
		if m := meta(object); !present[[2]string{m.GetNamespace(), m.GetName()}] {
			k.Drop(0, m.GetNamespace(), m.GetName())
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
}

// Put applies a creation or change, after which the mirror shows everything up to
// revision. Tests call it by themselves.
func (k *Kind[T]) Put(revision uint64, object *T) {
	k.Follow()
	k.order.Lock()
	defer k.order.Unlock()
	m := meta(object)
	m.SetManagedFields(nil)
	if k.trim != nil {
		k.trim(object)
	}
	namespace, name := m.GetNamespace(), m.GetName()
	k.mu.Lock()
	old := k.objects[namespace][name]
	if model := k.model(old, object); model != nil {
		share(reflect.ValueOf(model).Elem(), reflect.ValueOf(object).Elem())
	}
	k.last = object
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

// model is what an object has most in common with: its last version, one of its like, or
// whichever came last; mu is held.
func (k *Kind[T]) model(old, object *T) *T {
	if old != nil {
		return old
	}
	if k.alike != "" {
		for _, value := range k.indexers[k.alike](object) {
			for _, other := range k.indexes[k.alike][value] {
				return other
			}
		}
	}
	return k.last
}

// Drop applies a deletion.
func (k *Kind[T]) Drop(revision uint64, namespace, name string) {
	k.order.Lock()
	defer k.order.Unlock()
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

// file moves an object between the entries of all indexes; mu is held.
func (k *Kind[T]) file(old, new *T, key string) {
	for index := range k.indexers {
		k.fileUnder(index, old, new, key)
	}
}

func (k *Kind[T]) fileUnder(index string, old, new *T, key string) {
	fn, values := k.indexers[index], k.indexes[index]
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

// notify tells the handlers; order is held, mu is not.
func (k *Kind[T]) notify(old, new *T) {
	k.mu.RLock()
	handlers := k.handlers
	k.mu.RUnlock()
	for _, h := range handlers {
		h.fn(old, new)
	}
}

// meta panics for a T that is no Kubernetes object, which is a broken program.
func meta[T any](object *T) metav1.Object { return any(object).(metav1.Object) }
