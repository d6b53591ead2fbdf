package read

import "kubus.dev/proto/statelog"

// Shown is what a collection shows and nobody stores. A stored object hides a
// shown one of its name. Only gets, lists and the initial events of watches
// have shown objects: their changes have no place in the log.
type Shown interface {
	// Get gives one under the resourceVersion revision, nil where there is none.
	Get(ns, name string, revision uint64) *statelog.Entry
	// List gives those of a namespace (of all, when ns is empty) in the order of
	// namespace and name.
	List(ns string, revision uint64) []*statelog.Entry
}

// snapshot is what is stored at one revision, and beside it what is shown when it
// is read: the pages of one list share the former only.
type snapshot struct {
	statelog.Snapshot
	shown Shown // may be nil
}

func (c *collection) beside(stored statelog.Snapshot) snapshot {
	return snapshot{stored, c.o.Shown[c.gr]}
}

// live is the view's Get for what is stored or shown.
func (c *collection) live(ns, name string) *statelog.Entry {
	e := c.view.Get(c.gr, ns, name)
	if shown := c.o.Shown[c.gr]; e == nil && shown != nil {
		return shown.Get(ns, name, c.view.Revision())
	}
	return e
}

// Get gives an object, or nil.
func (s snapshot) Get(ns, name string) *statelog.Entry {
	e := s.Snapshot.Get(ns, name)
	if e == nil && s.shown != nil {
		return s.shown.Get(ns, name, s.Revision())
	}
	return e
}

// AscendAfter is statelog's, with what is shown in its places.
func (s snapshot) AscendAfter(ns, afterNS, afterName string, fn func(*statelog.Entry) bool) {
	shown := s.shownAfter(ns, position{afterNS, afterName})
	if len(shown) == 0 {
		s.Snapshot.AscendAfter(ns, afterNS, afterName, fn)
		return
	}
	on := true
	s.Snapshot.AscendAfter(ns, afterNS, afterName, func(e *statelog.Entry) bool {
		at := positionOf(e)
		for on && len(shown) > 0 && positionOf(shown[0]).before(at) {
			on, shown = fn(shown[0]), shown[1:]
		}
		if len(shown) > 0 && positionOf(shown[0]) == at {
			shown = shown[1:]
		}
		on = on && fn(e)
		return on
	})
	for on && len(shown) > 0 {
		on, shown = fn(shown[0]), shown[1:]
	}
}

func (s snapshot) shownAfter(ns string, after position) []*statelog.Entry {
	if s.shown == nil {
		return nil
	}
	shown := s.shown.List(ns, s.Revision())
	for len(shown) > 0 && !after.before(positionOf(shown[0])) {
		shown = shown[1:]
	}
	return shown
}

func positionOf(e *statelog.Entry) position { return position{e.Key().Namespace, e.Key().Name} }

func (p position) before(other position) bool {
	if p.ns != other.ns {
		return p.ns < other.ns
	}
	return p.name < other.name
}
