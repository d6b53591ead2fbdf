// Package feed tells of every change of every object in the STATE stream, whatever
// its kind: what the namespace controller and the garbage collector live on.
//
// It finds the kinds by the API's discovery, again whenever a
// CustomResourceDefinition or APIService changes. Promises: a subscriber hears of
// one collection on one goroutine, first its whole content, then each change in
// order; Synced is closed when all collections known at start have been told of.
package feed

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Subscriber hears of changes. Calls must not block for long.
type Subscriber interface {
	// Replace tells the whole content of a collection: at the start, and again
	// when changes were missed.
	Replace(resource *Resource, content statelog.Snapshot)
	// Change tells of one change.
	Change(resource *Resource, event statelog.Event)
	// Catalog tells that other kinds are served than before.
	Catalog(catalog *Catalog)
}

// Waits after a discovery that failed, doubling.
const (
	rediscoverFirst = 50 * time.Millisecond
	rediscoverMost  = 5 * time.Second
)

// Feed follows all collections.
type Feed struct {
	view        *statelog.View
	read        func(ctx context.Context, path string) ([]byte, error)
	logger      *zap.Logger
	subscribers []Subscriber
	catalog     atomic.Pointer[Catalog]
	synced      chan struct{}
}

// New returns a feed on the view of the STATE stream; read asks the API.
func New(view *statelog.View, read func(ctx context.Context, path string) ([]byte, error), logger *zap.Logger) *Feed {
	f := &Feed{view: view, read: read, logger: logger, synced: make(chan struct{})}
	f.catalog.Store(NewCatalog(nil))
	return f
}

// Subscribe is called before Run.
func (f *Feed) Subscribe(s Subscriber) { f.subscribers = append(f.subscribers, s) }

// Subscribed tells whether anybody listens.
func (f *Feed) Subscribed() bool { return len(f.subscribers) > 0 }

// Synced is closed when every collection has been told of.
func (f *Feed) Synced() <-chan struct{} { return f.synced }

// Catalog is what is served, as far as known.
func (f *Feed) Catalog() *Catalog { return f.catalog.Load() }

// Snapshot is a collection as it is now.
func (f *Feed) Snapshot(gr proto.GroupResource) statelog.Snapshot { return f.view.Snapshot(gr) }

// InView is true for collections of the stream that is followed.
func InView(gr proto.GroupResource) bool { return proto.StreamFor(gr) == &proto.StateStream }

// Run follows until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	if err := f.view.Ready(ctx); err != nil {
		if ctx.Err() != nil { // the term may be over before the view is filled
			return nil
		}
		return fmt.Errorf("following all kinds: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	changed := make(chan struct{}, 1)
	for _, gr := range []proto.GroupResource{
		{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"},
		{Group: "apiregistration.k8s.io", Resource: "apiservices"},
	} {
		group.Go(func() error { return f.signal(ctx, gr, changed) })
	}
	group.Go(func() error { return f.discoverAll(ctx, group, changed) })
	return group.Wait()
}

// signal pokes changed at each change of the collection.
func (f *Feed) signal(ctx context.Context, gr proto.GroupResource, changed chan<- struct{}) error {
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	err := statelog.Changes(ctx, f.view, gr, func(statelog.Snapshot) { poke() }, func([]statelog.Event) { poke() })
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watching %s: %w", gr, err)
}

func (f *Feed) discoverAll(ctx context.Context, group *errgroup.Group, changed <-chan struct{}) error {
	followed := map[proto.GroupResource]context.CancelFunc{}
	var first sync.WaitGroup
	wait := rediscoverFirst
	for start := true; ; {
		catalog, err := discover(ctx, f.read)
		if err != nil && ctx.Err() == nil && wait > rediscoverMost/4 {
			f.logger.Warn("discovering what the API serves", zap.Error(err))
		}
		if catalog != nil {
			f.catalog.Store(catalog)
			served := map[proto.GroupResource]bool{}
			for i := range catalog.Resources {
				resource := &catalog.Resources[i]
				if !InView(resource.GroupResource) {
					continue
				}
				served[resource.GroupResource] = true
				if followed[resource.GroupResource] != nil {
					continue
				}
				one, cancel := context.WithCancel(ctx)
				followed[resource.GroupResource] = cancel
				told := func() {}
				if start {
					first.Add(1)
					told = sync.OnceFunc(first.Done)
				}
				group.Go(func() error { defer told(); return f.follow(one, resource, told) })
			}
			for gr, cancel := range followed {
				if !served[gr] {
					cancel()
					delete(followed, gr)
				}
			}
			if start {
				start = false
				first.Wait()
				close(f.synced)
			}
			for _, s := range f.subscribers {
				s.Catalog(catalog)
			}
		}
		var retry <-chan time.Time
		if err != nil {
			retry, wait = time.After(wait), min(2*wait, rediscoverMost)
		} else {
			wait = rediscoverFirst
		}
		select {
		case <-ctx.Done():
			for _, cancel := range followed {
				cancel()
			}
			return nil
		case <-changed:
		case <-retry:
		}
	}
}

func (f *Feed) follow(ctx context.Context, resource *Resource, told func()) error {
	err := statelog.Changes(ctx, f.view, resource.GroupResource, func(content statelog.Snapshot) {
		for _, s := range f.subscribers {
			s.Replace(resource, content)
		}
		told()
	}, func(events []statelog.Event) {
		for _, event := range events {
			for _, s := range f.subscribers {
				s.Change(resource, event)
			}
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("following %s: %w", resource.GroupResource, err)
}
