package faults

import (
	"fmt"
	"time"
)

// Verdict is what Check found.
type Verdict struct {
	Operations, Acknowledged, Unknown int
	Lists, Events                     int
	Gap                               time.Duration // see Gap
	Unseen                            Unseen
	Watches                           []WatchLog
	Problems                          []string
}

func (v Verdict) String() string {
	return fmt.Sprintf("%d operations (%d writes acknowledged, %d unknown), %d lists, %d watch events, longest gap in acknowledged writes %v, not shown to a watcher: %d versions, %d deletions",
		v.Operations, v.Acknowledged, v.Unknown, v.Lists, v.Events, v.Gap.Round(time.Millisecond), v.Unseen.Versions, v.Unseen.Deletes)
}

// patience is how long the search for an order of one object's operations may take.
const patience = time.Minute

// Check judges a history and the logs of those who watched meanwhile.
func Check(ops []Op, watches []WatchLog) Verdict {
	v := Verdict{Operations: len(ops), Gap: Gap(ops), Watches: watches}
	wrote := map[int]Op{}
	for _, op := range ops {
		switch {
		case op.Verb == List && op.Outcome == OK:
			v.Lists++
		case op.Verb.writes() && op.Outcome == OK:
			v.Acknowledged++
		case op.Verb.writes() && op.Outcome == Unknown:
			v.Unknown++
		}
		if op.Verb.writes() && op.Verb != Delete {
			wrote[op.Value] = op
		}
	}
	all, problems := revisions(ops, watches)
	v.Problems = append(v.Problems, problems...)
	v.Problems = append(v.Problems, checkObjects(ops, all, patience)...)
	v.Problems = append(v.Problems, checkOrder(ops, all)...)
	for _, w := range watches {
		unseen, problems := checkWatch(w, all, wrote)
		v.Problems = append(v.Problems, problems...)
		v.Unseen.Versions += unseen.Versions
		v.Unseen.Deletes += unseen.Deletes
		for _, s := range w.Seen {
			if s.Type >= SeenAdded && s.Type <= SeenDeleted {
				v.Events++
			}
		}
	}
	return v
}
