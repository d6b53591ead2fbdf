package statelog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// stored is a message that the log still has: "name@7<5" is a version of an object at
// 7 that replaced the one at 5, "+name@7<5" its first, "-name@7<5" its end; "name@7"
// does not say what it replaced.
func stored(t *testing.T, text string, age time.Duration) *bus.StreamMsg {
	t.Helper()
	h := bus.Header{}
	switch text[0] {
	case '+':
		h[proto.HeaderOperation] = []string{proto.OperationCreate}
	case '-':
		h[proto.HeaderOperation] = []string{proto.OperationDelete}
	}
	name, rest, _ := strings.Cut(strings.TrimLeft(text, "+-"), "@")
	at, before, known := strings.Cut(rest, "<")
	if known {
		h[bus.HeaderExpectLastSubjectSeq] = []string{before}
	}
	seq, err := strconv.ParseUint(at, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	k := proto.Key{GroupResource: pods, Namespace: "ns", Name: name}
	return &bus.StreamMsg{Subject: k.Subject(), Header: h, Data: []byte(`{"metadata":{}}`), Seq: seq, Time: time.Now().Add(-age)}
}

// restarted is a view that has read what the log still has, the last of it at end.
func restarted(t *testing.T, end uint64, messages ...*bus.StreamMsg) *View {
	t.Helper()
	v := newView(proto.StateStream, zaptest.NewLogger(t))
	v.goal, v.durable = end, end
	for _, m := range messages {
		v.receive(m)
	}
	v.mu.Lock()
	v.becomeReady()
	v.mu.Unlock()
	return v
}

// told is what a watch that resumes behind a revision is told at once.
func told(v *View, after uint64) string {
	w, err := v.Resume(pods, after)
	if errors.Is(err, ErrExpired) {
		return "expired"
	}
	defer w.Stop()
	events, _, _ := w.Poll()
	var out []string
	for _, ev := range events {
		out = append(out, fmt.Sprintf("%s %s@%d", ev.Type, ev.Entry.Key().Name, ev.Entry.Revision()))
	}
	return strings.Join(out, ", ")
}

func TestAWatchGoesOnBehindARestartWhereNothingIsMissing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		log   []string
		after uint64
		want  string
	}{
		"it has seen everything":                         {[]string{"+a@3<0", "b@7<5"}, 7, ""},
		"it has seen all but the last change":            {[]string{"+a@3<0", "b@7<5"}, 5, "MODIFIED b@7"},
		"a version in between is missing":                {[]string{"+a@3<0", "b@7<5"}, 4, "expired"},
		"of nothing a version is missing":                {[]string{"+a@3<0", "+b@7<0"}, 2, "ADDED a@3, ADDED b@7"},
		"one was deleted":                                {[]string{"+a@3<0", "-b@7<5"}, 5, "DELETED b@7"},
		"it missed that one was deleted and is back":     {[]string{"+a@3<0", "+b@7<5"}, 4, "expired"},
		"it saw the deletion, not that it is back":       {[]string{"+a@3<0", "+b@7<5"}, 5, "ADDED b@7"},
		"each object has one change":                     {[]string{"a@6<2", "b@7<5", "-c@8<4"}, 5, "MODIFIED a@6, MODIFIED b@7, DELETED c@8"},
		"a message does not tell what it replaced":       {[]string{"+a@3<0", "b@7", "+c@9<0"}, 6, "expired"},
		"it has seen that message":                       {[]string{"+a@3<0", "b@7", "+c@9<0"}, 7, "ADDED c@9"},
		"both versions are there still":                  {[]string{"+a@3<0", "a@4<3", "a@9<4"}, 2, "ADDED a@3, MODIFIED a@4, MODIFIED a@9"},
		"a newer version came before the older was read": {[]string{"+a@3<0", "b@7<6", "b@9<8"}, 7, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var messages []*bus.StreamMsg
			for _, text := range c.log {
				messages = append(messages, stored(t, text, time.Second))
			}
			v := restarted(t, 10, messages...)
			if got := told(v, c.after); got != c.want {
				t.Errorf("from %d of %v: got %q, want %q", c.after, c.log, got, c.want)
			}
		})
	}
}

func TestALogForgetsDeletionsSoAResumedWatchIsNotOlder(t *testing.T) {
	t.Parallel()
	v := restarted(t, 20, stored(t, "+a@3<0", 3*time.Hour), stored(t, "+b@9<0", time.Minute), stored(t, "+c@12<0", time.Second))
	for after, want := range map[uint64]string{3: "expired", 7: "expired", 8: "ADDED b@9, ADDED c@12", 12: ""} {
		if got := told(v, after); got != want {
			t.Errorf("from %d: got %q, want %q", after, got, want)
		}
	}
	// Of a resource without objects the same is known.
	for after, expired := range map[uint64]bool{7: true, 8: false} {
		w, err := v.Watch(proto.GroupResource{Resource: "configmaps"}, after)
		if (err != nil) != expired {
			t.Errorf("a resource that nobody wrote, from %d: got %v", after, err)
		}
		if w != nil {
			w.Stop()
		}
	}
	old := restarted(t, 20, stored(t, "+a@3<0", 3*time.Hour))
	if got := told(old, 19); got != "expired" {
		t.Errorf("of a log in which nothing is young, from 19: got %q", got)
	}
	if got := told(old, 20); got != "" {
		t.Errorf("from its end: got %q", got)
	}
}

func TestWhatNeedsTheVersionsBeforeBeginsAtTheStart(t *testing.T) {
	t.Parallel()
	v := restarted(t, 10, stored(t, "+a@3<0", time.Second), stored(t, "b@7<5", time.Second))
	if _, err := v.Watch(pods, 6); !errors.Is(err, ErrExpired) {
		t.Errorf("a watch with what was before each change, from 6: got %v", err)
	}
	if _, err := v.SnapshotAt(pods, 6); !errors.Is(err, ErrExpired) {
		t.Errorf("the past at 6: got %v", err)
	}
	if s, err := v.SnapshotAt(pods, 7); err != nil || s.Len() != 2 {
		t.Errorf("the past at 7: got %d objects, %v", s.Len(), err)
	}
	v.receive(stored(t, "b@11<7", 0))
	if s, err := v.SnapshotAt(pods, 7); err != nil || s.Get("ns", "b").Revision() != 7 {
		t.Errorf("the past at 7, later: got %v", err)
	}
	w, err := v.Watch(pods, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if events, _, _ := w.Poll(); len(events) != 1 || events[0].Prev == nil {
		t.Errorf("a change after the start: got %+v", events)
	}
}

func TestACollectionThatNobodyNeedsLeavesTheView(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := readyView(t, proto.StateStream)
		put := func(seq uint64, name string, deleted bool) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.put(NewEntry(proto.Key{GroupResource: pods, Namespace: "ns", Name: name}, seq, []byte(`{"metadata":{}}`), deleted), nil)
			v.settled = seq
			v.catchUp()
		}
		put(1, "a", false)
		put(2, "a", true)
		w, err := v.Watch(pods, 2)
		if err != nil {
			t.Fatal(err)
		}
		pass(tombAge + time.Hour)
		if got := len(v.Resources()); got != 1 {
			t.Errorf("while it is watched: %d collections", got)
		}
		put(3, "b", false)
		put(4, "b", true)
		if events, _, _ := w.Poll(); len(events) != 2 {
			t.Errorf("the watch was told of %d changes, want 2", len(events))
		}
		w.Stop()
		w.Stop()
		pass(tombAge - time.Hour)
		if got := len(v.Resources()); got != 1 {
			t.Errorf("while its deletions may be asked for: %d collections", got)
		}
		pass(2 * time.Hour)
		if got := v.Resources(); len(got) != 0 {
			t.Errorf("later: %v", got)
		}
		if _, err := v.Watch(pods, 3); !errors.Is(err, ErrExpired) {
			t.Errorf("a watch of what was forgotten: got %v", err)
		}
		put(5, "c", false)
		again, err := v.Watch(pods, 4)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Stop()
		if events, _, _ := again.Poll(); len(events) != 1 {
			t.Errorf("when it is back a watch is told of %d changes, want 1", len(events))
		}
	})
}

func TestWhoOnlyAsksForAResourceLeavesNoTrace(t *testing.T) {
	t.Parallel()
	v := readyView(t, proto.StateStream)
	gr := proto.GroupResource{Group: "example.com", Resource: "nothings"}
	if n := v.Snapshot(gr).Len(); n != 0 {
		t.Errorf("got %d objects", n)
	}
	if e := v.Get(gr, "", "x"); e != nil {
		t.Errorf("got %v", e)
	}
	if _, err := v.SnapshotAt(gr, 1); err != nil || v.ChangedAt(gr) != 0 {
		t.Errorf("got %v and a change at %d", err, v.ChangedAt(gr))
	}
	if got := v.Resources(); len(got) != 0 {
		t.Errorf("the view has %v", got)
	}
}
