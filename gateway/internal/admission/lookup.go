package admission

import (
	"context"
	"sync"
	"time"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// lookupMost is how many decoded objects a lookup keeps.
const lookupMost = 1024

// lookup gives decoded objects of one collection and keeps those it decoded for
// as long as they stay the newest.
type lookup[T any] struct {
	source Source
	gr     proto.GroupResource

	mu   sync.Mutex
	kept map[proto.Key]kept[T]
}

type kept[T any] struct {
	entry *statelog.Entry
	value *T
}

func newLookup[T any](source Source, gr proto.GroupResource) *lookup[T] {
	return &lookup[T]{source: source, gr: gr, kept: map[proto.Key]kept[T]{}}
}

// get gives the object as the view has it; nil when there is none. It is shared:
// do not modify it.
func (l *lookup[T]) get(namespace, name string) (*T, error) {
	entry := l.source.View(l.gr).Get(l.gr, namespace, name)
	if entry == nil {
		return nil, nil
	}
	return l.decoded(entry)
}

func (l *lookup[T]) decoded(entry *statelog.Entry) (*T, error) {
	key := entry.Key()
	l.mu.Lock()
	k := l.kept[key]
	l.mu.Unlock()
	if k.entry == entry {
		return k.value, nil
	}
	value, err := statelog.Decode[T](entry)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	if len(l.kept) >= lookupMost {
		clear(l.kept)
	}
	l.kept[key] = kept[T]{entry, value}
	l.mu.Unlock()
	return value, nil
}

// latest is get behind a barrier.
func (l *lookup[T]) latest(ctx context.Context, namespace, name string) (*T, error) {
	if _, err := l.source.Barrier(ctx, l.gr); err != nil {
		return nil, err
	}
	return l.get(namespace, name)
}

// wait is get, but gives somebody else time to create the object.
func (l *lookup[T]) wait(ctx context.Context, namespace, name string, patience time.Duration) (*T, error) {
	view := l.source.View(l.gr)
	watch, err := view.Watch(l.gr, view.Revision())
	if err != nil {
		return l.get(namespace, name)
	}
	defer watch.Stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		value, err := l.get(namespace, name)
		if value != nil || err != nil {
			return value, err
		}
		if _, err := watch.Next(ctx); err != nil {
			return l.get(namespace, name)
		}
	}
}

// all calls fn for each object until it returns false.
func (l *lookup[T]) all(fn func(*T) bool) error {
	var err error
	l.source.View(l.gr).Snapshot(l.gr).Ascend("", func(e *statelog.Entry) bool {
		var value *T
		if value, err = l.decoded(e); err != nil {
			return false
		}
		return fn(value)
	})
	return err
}
