package statelog

import "github.com/google/btree"

// IndexFunc gives the values under which an entry is found; nil for none. It
// must depend on the entry alone.
type IndexFunc func(*Entry) []string

// indexTree orders entries by value, then namespace and name.
type indexTree = btree.BTreeG[indexItem]

type indexItem struct {
	value string
	entry *Entry
}

// index is guarded by the lock of its collection.
type index struct {
	fn   IndexFunc
	tree *indexTree
}

func newIndex(fn IndexFunc) *index {
	return &index{fn: fn, tree: btree.NewG(32, func(a, b indexItem) bool {
		if a.value != b.value {
			return a.value < b.value
		}
		return lessEntry(a.entry, b.entry)
	})}
}

func (ix *index) replace(prev, next *Entry) {
	if prev != nil {
		for _, v := range ix.fn(prev) {
			ix.tree.Delete(indexItem{v, prev})
		}
	}
	if !next.deleted {
		for _, v := range ix.fn(next) {
			ix.tree.ReplaceOrInsert(indexItem{v, next})
		}
	}
}
