package faults

import (
	"fmt"
	"slices"
	"time"
)

// change is one version as somebody saw it: by an answer, a list or a watch.
type change struct {
	key   string
	value int // 0: the object was deleted
	rev   uint64
}

// revisions collects all versions that anybody saw, in the order of their revisions.
func revisions(ops []Op, watches []WatchLog) (all []change, problems []string) {
	seen := map[uint64]change{}
	add := func(who string, c change) {
		if old, there := seen[c.rev]; there && old != c {
			problems = append(problems, fmt.Sprintf("revision %d is %s=%d, and to %s %s=%d", c.rev, old.key, old.value, who, c.key, c.value))
		}
		seen[c.rev] = c
	}
	for _, op := range ops {
		if op.Outcome == OK && op.Verb != List && op.Verb != Delete && op.Rev != 0 {
			add(op.Verb.String(), change{op.Key, op.Value, op.Rev})
		}
		for key, v := range op.Items {
			add("a list", change{key, v.Value, v.Rev})
		}
	}
	for _, w := range watches {
		for _, s := range w.Seen {
			switch s.Type {
			case SeenAdded, SeenModified:
				add("a watch", change{s.Key, s.Value, s.Rev})
			case SeenDeleted:
				add("a watch", change{s.Key, 0, s.Rev})
			}
			for key, v := range s.Items {
				add("a watch's list", change{key, v.Value, v.Rev})
			}
		}
	}
	for _, c := range seen {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b change) int { return int(int64(a.rev) - int64(b.rev)) })
	return all, problems
}

// checkOrder holds all writes and lists together against the order of the revisions: a
// later write has a higher one, a list is as new as what was acknowledged before it was
// asked for, and shows what there was at its revision.
func checkOrder(ops []Op, all []change) (problems []string) {
	byReturn, byCall := slices.Clone(ops), slices.Clone(ops)
	slices.SortFunc(byReturn, func(a, b Op) int { return int(a.Return - b.Return) })
	slices.SortFunc(byCall, func(a, b Op) int { return int(a.Call - b.Call) })
	newest, next := uint64(0), 0
	for _, op := range byCall {
		for ; next < len(byReturn) && byReturn[next].Return < op.Call; next++ {
			if done := byReturn[next]; done.Outcome == OK {
				newest = max(newest, done.Rev)
			}
		}
		switch {
		case op.Outcome != OK || op.Rev == 0 || op.Verb == Get:
		case op.Verb == List && op.Rev < newest:
			problems = append(problems, fmt.Sprintf("a list at %v is of revision %d, %d was acknowledged or read before", op.Call, op.Rev, newest))
		case op.Verb.writes() && op.Rev <= newest:
			problems = append(problems, fmt.Sprintf("%s of %s at %v was given revision %d, %d was acknowledged or read before", op.Verb, op.Key, op.Call, op.Rev, newest))
		}
	}
	for _, op := range ops {
		if op.Verb == List && op.Outcome == OK {
			problems = append(problems, listAt(fmt.Sprintf("a list at %v", op.Call), all, op.Rev, op.Items)...)
		}
	}
	return problems
}

// listAt compares a list with what is known of its revision.
func listAt(who string, all []change, rev uint64, items map[string]Ver) (problems []string) {
	want := map[string]change{}
	for _, c := range all {
		if c.rev > rev {
			break
		}
		want[c.key] = c
	}
	for key, c := range want {
		if got, there := items[key]; c.value == 0 && there || c.value != 0 && got.Value != c.value {
			problems = append(problems, fmt.Sprintf("%s of revision %d has %s=%v, but revision %d of it was %d", who, rev, key, got, c.rev, c.value))
		}
	}
	for key, v := range items {
		if v.Rev > rev {
			problems = append(problems, fmt.Sprintf("%s of revision %d has %s of revision %d", who, rev, key, v.Rev))
		}
	}
	return problems
}

// Gap is the longest time in which no write was acknowledged, between the first and the last.
func Gap(ops []Op) time.Duration {
	var at []time.Duration
	for _, op := range ops {
		if op.Verb.writes() && op.Outcome == OK {
			at = append(at, op.Return)
		}
	}
	slices.Sort(at)
	longest := time.Duration(0)
	for i := 1; i < len(at); i++ {
		longest = max(longest, at[i]-at[i-1])
	}
	return longest
}
