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
}

// QuotaError says that a write was refused since too much is stored already.
type QuotaError struct {
	Key proto.Key
	// Namespace is whose budget is spent; empty: the whole store's.
	Namespace   string
	Used, Limit int64 // bytes
}

func (e *QuotaError) Error() string {
	whose := "all namespaces"
	if e.Namespace != "" {
		whose = fmt.Sprintf("namespace %q", e.Namespace)
	}
	return fmt.Sprintf("no room for %s: the objects of %s take %s of the %s that they may: delete some", e.Key, whose, mebibytes(e.Used), mebibytes(e.Limit))
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// objectBytes is what an object takes beside its JSON: its place in the trees, and its
// subject and headers in the store.
const objectBytes = 256

func (e *Entry) size() int64 { return int64(len(e.data)) + objectBytes }

// Usage is what live objects take, in bytes.
type Usage struct{ Total, Namespace int64 }

// usage is kept as versions come and go.
type usage struct {
	mu         sync.Mutex
	total      int64
	namespaces map[string]int64
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
	if namespace == "" {
		return
	}
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

// Usage tells what the live objects of the stream take, all and those of a namespace.
func (v *View) Usage(namespace string) Usage { return v.usage.of(namespace) }

// check gives the *QuotaError of a write that finds no room. live is the version that it
// replaces, or nil.
func (q Quota) check(used Usage, w *Write, live *Entry) error {
	grows := int64(len(w.Data)) + objectBytes
	if live != nil {
		grows -= live.size()
	}
	over := ""
	limit, taken := q.Total, used.Total
	switch {
	case w.Delete || grows <= 0:
		return nil
	case q.Total > 0 && used.Total+grows > spare(q.Total, live):
	case w.Key.Namespace != "" && q.Namespace > 0 && used.Namespace+grows > spare(q.Namespace, live):
		over, limit, taken = w.Key.Namespace, q.Namespace, used.Namespace
	default:
		return nil
	}
	if live != nil && NewEntry(w.Key, 0, w.Data, false).Meta().DeletionTimestamp != "" {
		return nil // on its way out
	}
	return &QuotaError{w.Key, over, taken, limit}
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
