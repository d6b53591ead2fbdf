package faults

import (
	"strings"
	"testing"
	"time"
)

// story is a history that is right: three writes of a, one of b, reads between.
func story() ([]Op, []WatchLog) {
	at := func(ms int, op Op) Op {
		op.Call, op.Return = time.Duration(ms)*time.Millisecond, time.Duration(ms+5)*time.Millisecond
		return op
	}
	ops := []Op{
		at(0, Op{Verb: Create, Key: "a", Value: 1, Outcome: OK, Rev: 10}),
		at(10, Op{Verb: Create, Key: "b", Value: 2, Outcome: OK, Rev: 11}),
		at(20, Op{Verb: Get, Key: "a", Value: 1, Outcome: OK, Rev: 10}),
		at(30, Op{Verb: Update, Key: "a", Expect: 10, Value: 3, Outcome: OK, Rev: 12}),
		at(40, Op{Verb: Update, Key: "a", Expect: 10, Value: 4, Outcome: Conflict}),
		at(50, Op{Verb: List, Outcome: OK, Rev: 12, Items: map[string]Ver{"a": {3, 12}, "b": {2, 11}}}),
		at(60, Op{Verb: Delete, Key: "b", Outcome: OK}),
		at(70, Op{Verb: Get, Key: "b", Outcome: NotFound}),
		at(80, Op{Verb: Patch, Key: "a", Value: 5, Outcome: Unknown}),
		at(90, Op{Verb: Get, Key: "a", Value: 3, Outcome: OK, Rev: 12}),
		at(100, Op{Verb: Get, Key: "a", Value: 5, Outcome: OK, Rev: 14}),
	}
	watch := WatchLog{"a watcher", []Seen{
		{Type: SeenList, Rev: 10, Items: map[string]Ver{"a": {1, 10}}},
		{Type: SeenAdded, Key: "b", Value: 2, Rev: 11},
		{Type: SeenModified, Key: "a", Value: 3, Rev: 12},
		{Type: SeenBookmark, Rev: 12},
		{Type: SeenDeleted, Key: "b", Value: 2, Rev: 13},
		{Type: SeenResume, Rev: 13},
		{Type: SeenModified, Key: "a", Value: 5, Rev: 14},
		{Type: SeenBookmark, Rev: 14},
	}}
	return ops, []WatchLog{watch}
}

func TestARightHistoryHasNoProblem(t *testing.T) {
	v := Check(story())
	if len(v.Problems) > 0 {
		t.Errorf("got %q", v.Problems)
	}
	if v.Acknowledged != 4 || v.Unknown != 1 || v.Events != 4 || v.Unseen != (Unseen{}) {
		t.Errorf("got %v", v)
	}
}

// Each line breaks the story in one way, as a store that loses, forgets or invents would.
func TestTheCheckerFindsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func(ops []Op, w *WatchLog) []Op
		want   string
	}{
		"an acknowledged write is lost": {func(ops []Op, _ *WatchLog) []Op {
			ops[9].Value, ops[9].Rev = 1, 10
			return ops
		}, "a: its 8 operations have no order"},
		"a read is stale": {func(ops []Op, _ *WatchLog) []Op {
			ops[7].Outcome, ops[7].Value, ops[7].Rev = OK, 2, 11
			return ops
		}, "b: its"},
		"a list is stale": {func(ops []Op, _ *WatchLog) []Op {
			ops[5].Rev, ops[5].Items = 11, map[string]Ver{"a": {1, 10}, "b": {2, 11}}
			return ops
		}, "a list at 50ms is of revision 11, 12 was acknowledged"},
		"a list lacks an object": {func(ops []Op, _ *WatchLog) []Op {
			delete(ops[5].Items, "b")
			return ops
		}, "has b={0 0}, but revision 11 of it was 2"},
		"a create is refused though nothing is there": {func(ops []Op, _ *WatchLog) []Op {
			return append(ops, Op{Verb: Create, Key: "b", Value: 9, Outcome: Exists, Call: 110 * time.Millisecond, Return: 111 * time.Millisecond})
		}, "b: its"},
		"a write that was refused is there": {func(ops []Op, _ *WatchLog) []Op {
			ops[9].Value, ops[9].Rev = 4, 13
			return ops
		}, "a: its 8 operations have no order"},
		"two updates of one version succeed": {func(ops []Op, _ *WatchLog) []Op {
			ops[4].Outcome, ops[4].Rev = OK, 13
			return ops
		}, "a: its 8 operations have no order"},
		"a write of an unknown outcome is done twice": {func(ops []Op, w *WatchLog) []Op {
			w.Seen = append(w.Seen, Seen{Type: SeenModified, Key: "a", Value: 3, Rev: 15})
			return ops
		}, "a=3 of revision 15 was not written so"},
		"a revision is given out twice": {func(ops []Op, _ *WatchLog) []Op {
			ops[3].Rev = 11
			return ops
		}, "revision 11 is"},
		"revisions go back": {func(ops []Op, w *WatchLog) []Op {
			ops[3].Rev = 9
			return ops
		}, "was given revision 9, 11 was acknowledged"},
		"a watch misses a version": {func(ops []Op, w *WatchLog) []Op {
			w.Seen = append(w.Seen[:2:2], w.Seen[3:]...)
			return ops
		}, "a was 3 at revision 12, which never came"},
		"a watch misses a deletion": {func(ops []Op, w *WatchLog) []Op {
			w.Seen = append(append(w.Seen[:4:4], w.Seen[6:]...), Seen{Type: SeenEnd, Items: map[string]Ver{"a": {5, 14}}})
			return ops
		}, "at the end b is not there, and was to the watcher"},
		"a watch repeats an event": {func(ops []Op, w *WatchLog) []Op {
			w.Seen = append(w.Seen, w.Seen[6])
			return ops
		}, "came after revision 14"},
		"a watch resumes too late": {func(ops []Op, w *WatchLog) []Op {
			w.Seen[5].Rev = 14
			return ops
		}, "resumed behind 14, having seen 13"},
		"a watch tells of what nobody wrote": {func(ops []Op, w *WatchLog) []Op {
			w.Seen[6].Value = 77
			return ops
		}, "a=77 of revision 14 was not written so"},
		"a bookmark comes before what it covers": {func(ops []Op, w *WatchLog) []Op {
			w.Seen[3].Rev = 14
			return ops
		}, "which never came"},
		"an object is added that is there": {func(ops []Op, w *WatchLog) []Op {
			w.Seen[2].Type = SeenAdded
			return ops
		}, "event 3 of a (revision 12), which was there: true"},
	} {
		t.Run(name, func(t *testing.T) {
			ops, watches := story()
			ops = c.breaks(ops, &watches[0])
			for _, p := range Check(ops, watches).Problems {
				if strings.Contains(p, c.want) {
					return
				}
			}
			t.Errorf("got %q, want one with %q", Check(ops, watches).Problems, c.want)
		})
	}
}

func TestWhatWasReplacedBeforeItWasReadIsCounted(t *testing.T) {
	ops, watches := story()
	other := WatchLog{"behind another gateway", []Seen{
		{Type: SeenList, Rev: 10, Items: map[string]Ver{"a": {1, 10}}},
		{Type: SeenAdded, Key: "b", Value: 2, Rev: 11},
		{Type: SeenDeleted, Key: "b", Value: 2, Rev: 13},
		{Type: SeenModified, Key: "a", Value: 5, Rev: 14},
		{Type: SeenBookmark, Rev: 14},
	}}
	v := Check(ops, append(watches, other))
	if len(v.Problems) > 0 || v.Unseen != (Unseen{Versions: 1}) {
		t.Errorf("got %v, %q", v.Unseen, v.Problems)
	}
}
