package read

import (
	"container/list"
	"sync"

	"k8s.io/apimachinery/pkg/fields"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto/statelog"
)

// cache keeps what was derived from entries, the least recently used going first
// when the budget is spent. Entries and kinds never change, so nothing in it is ever
// stale.
type cache struct {
	budget int

	mu    sync.Mutex
	used  int
	order *list.List // front: most recently used
	items map[cacheKey]*list.Element
}

type cacheKey struct {
	kind  *resource.Kind // a custom kind's next version shows the same entry in another way
	entry *statelog.Entry
	form  form
}

type cacheItem struct {
	key    cacheKey
	bytes  []byte
	entry  *statelog.Entry // for formOpened
	fields fields.Set      // for formFields
	row    *row            // for formRow
	brief  bool            // it is true for a moment, and not kept
	size   int
}

// itemOverhead is what an item costs beside its bytes.
const itemOverhead = 200

func newCache(budget int) *cache {
	return &cache{budget: budget, order: list.New(), items: map[cacheKey]*list.Element{}}
}

// has says whether a derived form is there.
func (c *cache) has(kind *resource.Kind, entry *statelog.Entry, f form) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.items[cacheKey{kind, entry, f}]
	return ok
}

// get gives the derived form of an entry, made by derive when it is not there.
// Two callers may derive the same at the same time; one result stays.
func (c *cache) get(kind *resource.Kind, entry *statelog.Entry, f form, derive func() (cacheItem, error)) (cacheItem, error) {
	key := cacheKey{kind, entry, f}
	c.mu.Lock()
	if el, ok := c.items[key]; ok {
		c.order.MoveToFront(el)
		item := *el.Value.(*cacheItem)
		c.mu.Unlock()
		return item, nil
	}
	c.mu.Unlock()
	item, err := derive()
	if err != nil {
		return cacheItem{}, err
	}
	if item.brief {
		return item, nil
	}
	item.key = key
	item.size = len(item.bytes) + itemOverhead
	if item.entry != nil {
		item.size += len(item.entry.Data())
	}
	if item.row != nil {
		item.size += len(item.row.after)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.items[key]; ok {
		return *el.Value.(*cacheItem), nil
	}
	c.items[key] = c.order.PushFront(&item)
	c.used += item.size
	for c.used > c.budget && c.order.Len() > 1 {
		last := c.order.Back()
		old := c.order.Remove(last).(*cacheItem)
		delete(c.items, old.key)
		c.used -= old.size
	}
	return item, nil
}
