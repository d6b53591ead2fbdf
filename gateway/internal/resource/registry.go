package resource

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto"
)

// Registry holds the table of kinds. The table is a value that never changes: a
// change makes another and swaps it in as a whole, so that whoever loaded one sees
// one world until it loads again. Safe for concurrent use.
type Registry struct {
	table atomic.Pointer[Table]

	mu      sync.Mutex // guards what follows, and orders the swaps
	builtIn []*Kind
	sources map[string][]*Kind
	changed chan struct{} // closed and replaced at each swap
}

// NewRegistry makes a registry that serves builtIn and what sources will add.
func NewRegistry(builtIn []*Kind) *Registry {
	r := &Registry{builtIn: builtIn, sources: map[string][]*Kind{}, changed: make(chan struct{})}
	r.table.Store(newTable(builtIn))
	return r
}

// Load gives the table as it is now.
func (r *Registry) Load() *Table { return r.table.Load() }

// Find is Load().Find.
func (r *Registry) Find(gvr schema.GroupVersionResource) *Kind { return r.Load().Find(gvr) }

// Changed gives the present table and a channel that is closed when another takes
// its place.
func (r *Registry) Changed() (*Table, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table.Load(), r.changed
}

// Set replaces all kinds of one source. A kind that stays must be the same pointer:
// one that is no longer in the table is gone for whoever uses it, and its watches
// end. A kind of a built-in's group, version and resource is left out. kinds are in
// the order of discovery: by group, and within one the preferred version first.
func (r *Registry) Set(source string, kinds []*Kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources[source] = kinds
	all := slices.Clone(r.builtIn)
	for _, name := range sortedKeys(r.sources) {
		all = append(all, r.sources[name]...)
	}
	before, after := r.table.Load(), newTable(all)
	r.table.Store(after)
	close(r.changed)
	r.changed = make(chan struct{})
	for _, k := range before.kinds {
		if !after.has(k) {
			k.leave()
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, cmp.Compare)
	return keys
}

// Table is all kinds at one moment. It is immutable.
type Table struct {
	kinds    []*Kind
	byGVR    map[schema.GroupVersionResource]*Kind
	byGR     map[proto.GroupResource]*Kind
	versions []schema.GroupVersion
	byGV     map[schema.GroupVersion][]*Kind
}

func newTable(kinds []*Kind) *Table {
	t := &Table{
		byGVR: make(map[schema.GroupVersionResource]*Kind, len(kinds)+1), byGR: make(map[proto.GroupResource]*Kind, len(kinds)),
		byGV: map[schema.GroupVersion][]*Kind{},
	}
	for _, k := range kinds {
		if t.byGVR[k.Served[0].WithResource(k.GVR.Resource)] != nil {
			continue // a built-in has the name
		}
		t.kinds = append(t.kinds, k)
		for _, gv := range k.Served {
			t.byGVR[gv.WithResource(k.GVR.Resource)] = k
			if _, ok := t.byGV[gv]; !ok {
				t.versions = append(t.versions, gv)
			}
			t.byGV[gv] = append(t.byGV[gv], k)
		}
		// Of several kinds of one collection, the one that serves what is stored.
		if other := t.byGR[k.GR()]; other == nil || k.Served[0] == k.GVR.GroupVersion() {
			t.byGR[k.GR()] = k
		}
	}
	return t
}

func (t *Table) has(k *Kind) bool { return t.byGVR[k.Served[0].WithResource(k.GVR.Resource)] == k }

// Kinds lists all kinds, built-in ones first. Do not modify it.
func (t *Table) Kinds() []*Kind { return t.kinds }

// Find gives the kind served as gvr, which may be another than its storage
// version; nil if there is none.
func (t *Table) Find(gvr schema.GroupVersionResource) *Kind { return t.byGVR[gvr] }

// Of gives a kind that is kept as gr in the state log; nil if there is none. Of a
// custom kind with several versions it is that of the storage version, when it is
// served.
func (t *Table) Of(gr proto.GroupResource) *Kind { return t.byGR[gr] }

// Versions lists the served group versions: built-in ones first, then in the order
// of the sources.
func (t *Table) Versions() []schema.GroupVersion { return t.versions }

// In lists the kinds served in a group version. Do not modify it.
func (t *Table) In(gv schema.GroupVersion) []*Kind { return t.byGV[gv] }
