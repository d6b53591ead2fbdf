package statelog

import (
	"strings"

	"github.com/google/btree"
)

// Snapshot is a collection at one revision. It is a small value, never changes
// and costs nothing to keep but the memory of what was replaced since.
type Snapshot struct {
	tree     *btree.BTreeG[*Entry]
	revision uint64
	indexes  map[string]*indexTree
}

// Revision is the resourceVersion of the snapshot as a list.
func (s Snapshot) Revision() uint64 { return s.revision }

// Len is the number of objects in all namespaces.
func (s Snapshot) Len() int {
	if s.tree == nil {
		return 0
	}
	return s.tree.Len()
}

// Get gives an object, or nil.
func (s Snapshot) Get(ns, name string) *Entry {
	if s.tree == nil {
		return nil
	}
	e, _ := s.tree.Get(probe(ns, name))
	return e
}

// Ascend calls fn for the objects of a namespace (all, when ns is empty) in the
// order of namespace and name, until fn returns false.
func (s Snapshot) Ascend(ns string, fn func(*Entry) bool) { s.AscendAfter(ns, "", "", fn) }

// AscendAfter is Ascend for what follows the object afterNS/afterName, which
// itself is left out. Both empty: from the start.
func (s Snapshot) AscendAfter(ns, afterNS, afterName string, fn func(*Entry) bool) {
	if s.tree == nil {
		return
	}
	from := probe(ns, "")
	if afterNS != "" || afterName != "" {
		from = probe(afterNS, afterName+"\x00")
	}
	s.tree.AscendGreaterOrEqual(from, func(e *Entry) bool {
		if ns != "" && e.key.Namespace != ns {
			return strings.Compare(e.key.Namespace, ns) < 0
		}
		return fn(e)
	})
}

// ByIndex calls fn for the objects whose index has the value, in the order of
// namespace and name, until fn returns false. Unknown indexes find nothing.
func (s Snapshot) ByIndex(name, value string, fn func(*Entry) bool) {
	ix := s.indexes[name]
	if ix == nil {
		return
	}
	ix.AscendGreaterOrEqual(indexItem{value, probe("", "")}, func(it indexItem) bool {
		return it.value == value && fn(it.entry)
	})
}

// HasIndex tells whether ByIndex knows the index; a snapshot of the past knows none.
func (s Snapshot) HasIndex(name string) bool { return s.indexes[name] != nil }
