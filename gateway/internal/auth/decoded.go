package auth

import (
	"sync"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// ViewFunc gives the view that holds a resource.
type ViewFunc func(proto.GroupResource) *statelog.View

// decodedMost bounds what one decoded keeps.
const decodedMost = 8192

// decoded keeps what was made of entries, the newest of each object.
type decoded[T any] struct {
	make func(*statelog.Entry) (T, error)

	mu   sync.RWMutex
	kept map[proto.Key]decodedItem[T]
}

type decodedItem[T any] struct {
	entry *statelog.Entry
	value T
}

func newDecoded[T any](make func(*statelog.Entry) (T, error)) *decoded[T] {
	return &decoded[T]{make: make, kept: map[proto.Key]decodedItem[T]{}}
}

// of gives what an entry was made into. It is shared: do not modify it.
func (d *decoded[T]) of(e *statelog.Entry) (T, error) {
	d.mu.RLock()
	item := d.kept[e.Key()]
	d.mu.RUnlock()
	if item.entry == e {
		return item.value, nil
	}
	value, err := d.make(e)
	if err != nil {
		return value, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.kept) >= decodedMost {
		clear(d.kept)
	}
	d.kept[e.Key()] = decodedItem[T]{e, value}
	return value, nil
}
