package source

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"sync"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
)

// whole follows a collection from the first time that somebody asks for it until ctx
// ends: few pods need any of it, and those that do cannot name the objects.
type whole[T any, P object[T]] struct {
	ctx     context.Context
	api     *apiclient.Client
	log     *zap.Logger
	path    string
	query   url.Values
	changed func() // something did, after the first list; may be nil

	begin   sync.Once
	synced  chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex
	items map[types.NamespacedName]*T
}

func newWhole[T any, P object[T]](ctx context.Context, api *apiclient.Client, log *zap.Logger, path string, query url.Values) *whole[T, P] {
	return &whole[T, P]{ctx: ctx, api: api, log: log, path: path, query: query, synced: make(chan struct{}), items: map[types.NamespacedName]*T{}}
}

// known waits until the collection is there and gives its objects, which nobody may change.
func (w *whole[T, P]) known(ctx context.Context) ([]*T, error) {
	w.begin.Do(func() {
		w.running.Add(1)
		go w.follow()
	})
	select {
	case <-w.synced:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.items)), nil
}

// get gives one object; nil when there is none. Only after known.
func (w *whole[T, P]) get(key types.NamespacedName) *T {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.items[key]
}

func (w *whole[T, P]) follow() {
	defer w.running.Done()
	err := apiclient.ListWatch(w.ctx, w.api, w.path, w.query, w.set, func() { close(w.synced) })
	if err != nil && w.ctx.Err() == nil {
		w.log.Warn("collection is not followed any more", zap.String("path", w.path), zap.Error(err))
	}
}

func (w *whole[T, P]) set(old, new *T) {
	w.mu.Lock()
	if new != nil {
		w.items[keyOf(P(new))] = new
	} else {
		delete(w.items, keyOf(P(old)))
	}
	w.mu.Unlock()
	select {
	case <-w.synced:
		if w.changed != nil {
			w.changed()
		}
	default: // those who wait see it all
	}
}

func keyOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}
