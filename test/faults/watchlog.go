package faults

import "fmt"

// SeenType is what a watcher saw.
type SeenType uint8

const (
	// SeenList: the watcher listed, since it began or was told to (410).
	SeenList SeenType = iota + 1
	// SeenResume: the watch was opened again behind Rev.
	SeenResume
	SeenAdded
	SeenModified
	SeenDeleted
	SeenBookmark
	// SeenEnd: nothing more came, and a list that was asked for afterwards has Items.
	SeenEnd
)

// Seen is one thing that a watcher saw.
type Seen struct {
	Type  SeenType
	Key   string
	Value int
	Rev   uint64
	Items map[string]Ver // of a list, or what a list has at the end
}

// WatchLog is all that one watcher saw, in order.
type WatchLog struct {
	Name string
	Seen []Seen
}

// Unseen counts what a watcher was not shown since it was replaced before the gateway had
// read it.
type Unseen struct {
	Versions int // of those that others saw
	Deletes  int // whose object was there again
}

// checkWatch holds one log against the promises: what comes is in order, each once, and
// was written; of each object that was changed up to a bookmark, or up to the end of the
// log, that version came or a newer one; what is added was not there, what is modified or
// deleted was.
func checkWatch(w WatchLog, all []change, wrote map[int]Op) (unseen Unseen, problems []string) {
	complain := func(format string, args ...any) {
		problems = append(problems, w.Name+": "+fmt.Sprintf(format, args...))
	}
	there, newest, seen := map[string]bool{}, map[string]uint64{}, map[uint64]bool{}
	last, floor, next := uint64(0), uint64(0), 0 // all[:next] was looked at
	settle := func(rev uint64) {
		latest := map[string]change{}
		for ; next < len(all) && all[next].rev <= rev; next++ {
			c := all[next]
			latest[c.key] = c
			if c.rev > floor && !seen[c.rev] {
				unseen.Versions++
			}
		}
		for _, key := range sorted(latest) {
			c := latest[key]
			// An object that came and went unseen is no change.
			if max(floor, newest[key]) < c.rev && (c.value != 0 || there[key]) {
				complain("%s was %d at revision %d, which never came, nor a newer one; seen is %d", c.key, c.value, c.rev, rev)
			}
		}
	}
	for _, s := range w.Seen {
		switch s.Type {
		case SeenList:
			if s.Rev < last {
				complain("a list of revision %d after revision %d", s.Rev, last)
			}
			problems = append(problems, listAt(w.Name+": its list", all, s.Rev, s.Items)...)
			clear(there)
			for key := range s.Items {
				there[key] = true
			}
			last, floor = s.Rev, s.Rev
			for next < len(all) && all[next].rev <= floor {
				next++
			}
		case SeenEnd:
			for key := range s.Items {
				if !there[key] {
					complain("at the end %s is there, and was not to the watcher", key)
				}
			}
			for key, still := range there {
				if _, listed := s.Items[key]; still && !listed {
					complain("at the end %s is not there, and was to the watcher", key)
				}
			}
		case SeenResume:
			if s.Rev != last {
				complain("resumed behind %d, having seen %d", s.Rev, last)
			}
		case SeenBookmark:
			if s.Rev < last {
				complain("a bookmark of %d after revision %d", s.Rev, last)
			}
			settle(s.Rev)
			last = max(last, s.Rev)
		default:
			if s.Rev <= last {
				complain("%s=%d of revision %d came after revision %d", s.Key, s.Value, s.Rev, last)
			}
			by, known := wrote[s.Value]
			if !known || by.Key != s.Key || by.Outcome == OK && by.Rev != s.Rev && s.Type != SeenDeleted || by.Outcome != OK && by.Outcome != Unknown {
				complain("%s=%d of revision %d was not written so: %+v", s.Key, s.Value, s.Rev, by)
			}
			if there[s.Key] != (s.Type != SeenAdded) {
				complain("event %d of %s (revision %d), which was there: %v", s.Type, s.Key, s.Rev, there[s.Key])
			}
			if s.Type == SeenModified && by.Verb == Create {
				unseen.Deletes++
			}
			there[s.Key] = s.Type != SeenDeleted
			newest[s.Key], seen[s.Rev], last = s.Rev, true, max(last, s.Rev)
		}
	}
	return unseen, problems
}
