package auth

import (
	lru "github.com/hashicorp/golang-lru/v2"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// ViewFunc gives the view that holds a resource.
type ViewFunc func(proto.GroupResource) *statelog.View

// decodedMost bounds what one decoded keeps; what was not used for longest goes first.
const decodedMost = 8192

// decoded keeps what was made of entries, the newest of each object.
type decoded[T any] struct {
	make func(*statelog.Entry) (T, error)
	kept *lru.Cache[proto.Key, decodedItem[T]]
}

type decodedItem[T any] struct {
	entry *statelog.Entry
	value T
}

func newDecoded[T any](make func(*statelog.Entry) (T, error)) *decoded[T] {
	kept, err := lru.New[proto.Key, decodedItem[T]](decodedMost)
	if err != nil {
		panic("decodedMost is no size: " + err.Error())
	}
	return &decoded[T]{make: make, kept: kept}
}

// of gives what an entry was made into. It is shared: do not modify it.
func (d *decoded[T]) of(e *statelog.Entry) (T, error) {
	if item, ok := d.kept.Get(e.Key()); ok && item.entry == e {
		return item.value, nil
	}
	value, err := d.make(e)
	if err == nil {
		d.kept.Add(e.Key(), decodedItem[T]{e, value})
	}
	return value, err
}
