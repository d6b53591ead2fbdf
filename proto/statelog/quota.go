package statelog

import (
	"fmt"
	"sync"

	"kubus.dev/proto"
)

// Quota bounds what the live objects of each stream take: every gateway keeps them in
// memory. It is soft: writes under way do not know of each other, deletions always pass,
// and so do changes of what is there, up to an eighth more, so that an object can be ended
// in the usual way. 0 is no bound.
type Quota struct {
	Total     int64 // all objects, in bytes
	Namespace int64 // those of one namespace
	Cluster   int64 // those of none
}

// QuotaError says that a write was refused since too much is stored already.
type QuotaError struct {
	Key proto.Key
	// Budget is what is spent: the whole store's, or that of the key's namespace or of the cluster's objects.
	Budget      Budget
	Used, Limit int64 // bytes
}

// Budget is one of a Quota's.
type Budget int

const (
	TotalBudget Budget = iota + 1
	NamespaceBudget
	ClusterBudget
)

func (e *QuotaError) Error() string {
	whose := "all namespaces"
	switch e.Budget {
	case NamespaceBudget:
		whose = fmt.Sprintf("namespace %q", e.Key.Namespace)
	case ClusterBudget:
		whose = "no namespace"
	}
	return fmt.Sprintf("no room for %s: the objects of %s take %s of the %s that they may: delete some", e.Key, whose, mebibytes(e.Used), mebibytes(e.Limit))
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// objectBytes is what an object takes beside its JSON: its place in the trees, and its
// subject and headers in the store.
const objectBytes = 256

func (e *Entry) size() int64 { return int64(e.len()) + objectBytes }

// Usage is what live objects take, in bytes: all, and those of a namespace, or of none.
type Usage struct{ Total, Namespace int64 }

// usage is kept as versions come and go.
type usage struct {
	mu         sync.Mutex
	total      int64
	namespaces map[string]int64 // "": objects of the cluster
}

// replace counts a version in place of another; either may be nil.
func (u *usage) replace(prev, next *Entry) {
	var by int64
	var namespace string
	if prev != nil {
		by, namespace = by-prev.size(), prev.key.Namespace
	}
	if next != nil && !next.deleted {
		by, namespace = by+next.size(), next.key.Namespace
	}
	if by == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.total += by
	if u.namespaces == nil {
		u.namespaces = map[string]int64{}
	}
	if u.namespaces[namespace] += by; u.namespaces[namespace] == 0 {
		delete(u.namespaces, namespace)
	}
}

func (u *usage) of(namespace string) Usage {
	u.mu.Lock()
	defer u.mu.Unlock()
	return Usage{u.total, u.namespaces[namespace]}
}

// Usage tells what the live objects of the stream take, all and those of a namespace, or,
// for "", of the cluster.
func (v *View) Usage(namespace string) Usage { return v.usage.of(namespace) }

// check gives the *QuotaError of a write that finds no room. live is the version that it
// replaces, or nil.
func (q Quota) check(used Usage, w *Write, live *Entry) error {
	grows := int64(len(w.Data)) + objectBytes
	if live != nil {
		grows -= live.size()
	}
	budget, own := NamespaceBudget, q.Namespace
	if w.Key.Namespace == "" {
		budget, own = ClusterBudget, q.Cluster
	}
	over := QuotaError{Key: w.Key}
	switch {
	case w.Delete || grows <= 0:
		return nil
	case q.Total > 0 && used.Total+grows > spare(q.Total, live):
		over.Budget, over.Used, over.Limit = TotalBudget, used.Total, q.Total
	case own > 0 && used.Namespace+grows > spare(own, live):
		over.Budget, over.Used, over.Limit = budget, used.Namespace, own
	default:
		return nil
	}
	if live != nil && NewEntry(w.Key, 0, w.Data, false).Meta().DeletionTimestamp != "" {
		return nil // on its way out
	}
	return &over
}

// spare is how far a limit goes for a change of an object that is there, or a new one.
func spare(limit int64, live *Entry) int64 {
	if live != nil {
		return limit + limit/8
	}
	return limit
}

// SetQuota bounds the log from here on. It is for before the first write.
func (l *Log) SetQuota(q Quota) { l.quota = q }

// room gives the *QuotaError of a write, or of what comes before it.
func (l *Log) room(w *Write) error {
	if l.quota == (Quota{}) {
		return nil
	}
	view := l.views.For(w.Key.GroupResource)
	used := view.Usage(w.Key.Namespace)
	if l.quota.check(used, w, nil) != nil { // if it were new; most writes find room even so
		if err := l.quota.check(used, w, view.Get(w.Key.GroupResource, w.Key.Namespace, w.Key.Name)); err != nil {
			return err
		}
	}
	for i := range w.First {
		if err := l.room(&w.First[i]); err != nil {
			return err
		}
	}
	return nil
}
