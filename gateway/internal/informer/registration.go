package informer

import (
	"context"
	"sync"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// registration is a handler that is being told: by a goroutine that waits for
// changes, and by whoever cannot wait for that goroutine.
type registration struct {
	informer *informer
	handler  cache.ResourceEventHandler
	ctx      context.Context //nolint:containedctx // the registration's life
	cancel   context.CancelFunc
	synced   chan struct{} // closed when the handler has heard of what was there

	mu    sync.Mutex // held while the handler is told
	watch *statelog.Watch
	known map[proto.Key]told
}

// told is what the handler heard last of an object.
type told struct {
	entry *statelog.Entry
	obj   runtime.Object
}

func newRegistration(i *informer, h cache.ResourceEventHandler) *registration {
	r := &registration{informer: i, handler: h, synced: make(chan struct{}), known: map[proto.Key]told{}}
	r.ctx, r.cancel = context.WithCancel(i.factory.ctx)
	return r
}

// run tells the handler until the registration or the factory ends.
func (r *registration) run() {
	defer r.cancel()
	if r.informer.view().Ready(r.ctx) != nil {
		return
	}
	for r.ctx.Err() == nil {
		select {
		case <-r.tell():
		case <-r.ctx.Done():
		}
	}
}

// tell tells the handler what it has not heard of yet and gives a channel that is
// closed at the next change.
func (r *registration) tell() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.ctx.Err() == nil {
		if r.watch == nil {
			r.compare()
			continue
		}
		events, changed, err := r.watch.Poll()
		switch {
		case err != nil: // it fell behind
			r.watch = nil
		case len(events) == 0:
			return changed
		}
		for _, event := range events {
			e := event.Entry
			if event.Type == statelog.Deleted {
				e = nil
			}
			r.change(event.Entry.Key(), e)
		}
	}
	return nil
}

// compare tells what differs between the view and what the handler knows, and
// watches from there.
func (r *registration) compare() {
	snapshot := r.informer.view().Snapshot(r.informer.gr)
	snapshot.Ascend("", func(e *statelog.Entry) bool {
		r.change(e.Key(), e)
		return true
	})
	for key := range r.known {
		if snapshot.Get(key.Namespace, key.Name) == nil {
			r.change(key, nil)
		}
	}
	watch, err := r.informer.view().Watch(r.informer.gr, snapshot.Revision())
	if err != nil {
		return // too much has changed since: once more
	}
	r.watch = watch
	if !r.HasSynced() {
		close(r.synced)
	}
}

func (r *registration) change(key proto.Key, e *statelog.Entry) {
	before, had := r.known[key]
	switch {
	case e == nil && had:
		delete(r.known, key)
		r.handler.OnDelete(before.obj)
	case e == nil || had && before.entry == e:
	default:
		obj, err := r.informer.decoded(e)
		if err != nil {
			r.informer.factory.o.Logger.Error("stored object cannot be read", zap.Stringer("key", key), zap.Error(err))
			return
		}
		r.known[key] = told{e, obj}
		if had {
			r.handler.OnUpdate(before.obj, obj)
		} else {
			r.handler.OnAdd(obj, !r.HasSynced())
		}
	}
}

// HasSynced says whether the handler has heard of everything that was there.
func (r *registration) HasSynced() bool {
	select {
	case <-r.synced:
		return true
	default:
		return false
	}
}

// HasSyncedChecker is HasSynced as a channel.
func (r *registration) HasSyncedChecker() cache.DoneChecker {
	return checker{r.informer.gvr.String(), r.synced}
}
