package statelog

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

var pods = proto.GroupResource{Resource: "pods"}

func readyView(t *testing.T, stream proto.Stream) *View {
	v := newView(stream, zaptest.NewLogger(t))
	v.becomeReady()
	return v
}

func batchMessage(name string, seq uint64) *bus.StreamMsg {
	k := proto.Key{GroupResource: pods, Namespace: "ns", Name: name}
	return &bus.StreamMsg{Subject: k.Subject(), Header: bus.Header{bus.HeaderBatchID: {"b"}}, Data: []byte(`{"metadata":{}}`), Seq: seq, Time: time.Now()}
}

func TestOfABatchThatTheConsumerBroughtFirstOurOwnBytesAreKept(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		held    []uint64 // sequences the consumer has brought
		ours    bool
		applied uint64
	}{
		"nothing came yet":                      {nil, true, 2},
		"half of it came":                       {[]uint64{1}, true, 2},
		"all of it came":                        {[]uint64{1, 2}, true, 2},
		"and another's that is not durable yet": {[]uint64{1, 2, 3}, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				v := readyView(t, proto.StateStream)
				names := []string{"a", "b", "c"}
				for _, seq := range tc.held {
					v.receive(batchMessage(names[seq-1], seq))
					v.settle(seq)
				}
				var entries []*Entry
				for i, n := range names[:2] {
					entries = append(entries, NewEntry(proto.Key{GroupResource: pods, Namespace: "ns", Name: n}, uint64(i+1), []byte(`{"metadata":{}}`), false))
				}
				v.offer(1, 2, entries)
				if got := v.Get(pods, "ns", "a") == entries[0]; got != tc.ours {
					t.Errorf("our own entry is shown: got %v, want %v", got, tc.ours)
				}
				if got := v.Revision(); got != tc.applied {
					t.Errorf("revision: got %d, want %d", got, tc.applied)
				}
				if left := len(v.held); left != max(0, len(tc.held)-2) {
					t.Errorf("%d messages are held", left)
				}
				// The consumer's copies change nothing any more.
				v.receive(batchMessage("a", 1))
				if e := v.Get(pods, "ns", "a"); e == nil || e.Revision() != 1 {
					t.Errorf("after the consumer's copy: got %v", e)
				}
			})
		})
	}
}

func TestABatchWhoseWriterSaysNothingIsShownWhenItIsProvedToBeOnDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := readyView(t, proto.StateStream)
		var answers atomic.Bool
		v.prove = func(context.Context) (uint64, error) {
			if !answers.Load() {
				return 0, ErrUnavailable
			}
			return 9, nil
		}
		v.receive(batchMessage("a", 1))
		pass(time.Minute)
		if v.Get(pods, "ns", "a") != nil {
			t.Error("it is shown while the store does not answer")
		}
		answers.Store(true)
		pass(time.Second)
		if v.Get(pods, "ns", "a") == nil {
			t.Error("it is not shown when the store has stored something behind it")
		}
	})
}

func TestAnEventExpiresByItsNewestVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		events := proto.GroupResource{Resource: "events"}
		v := readyView(t, proto.EventsStream)
		put := func(seq uint64) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.put(NewEntry(proto.Key{GroupResource: events, Namespace: "ns", Name: "e"}, seq, []byte(`{"metadata":{}}`), false), nil)
			v.settled = seq
			v.catchUp()
		}
		put(1)
		pass(EventTTL / 2)
		put(2)
		pass(EventTTL/2 + time.Second)
		if e := v.Get(events, "ns", "e"); e == nil || e.Revision() != 2 {
			t.Errorf("an hour after its first version: got %v, want the second", e)
		}
		pass(EventTTL / 2)
		if e := v.Get(events, "ns", "e"); e != nil {
			t.Errorf("an hour after its last version it is still there")
		}
	})
}

func TestARevisionIsReachedWhenNothingUpToItIsMissing(t *testing.T) {
	t.Parallel()
	v := newView(proto.StateStream, zaptest.NewLogger(t))
	v.goal = 10
	plain := func(name string, seq uint64) {
		m := batchMessage(name, seq)
		m.Header = nil
		v.receive(m)
	}
	plain("a", 4)
	plain("b", 10)
	if v.IsReady() || v.Revision() != 0 {
		t.Errorf("read to the end, with gaps: ready %v at %d", v.IsReady(), v.Revision())
	}
	plain("c", 12) // made at 2, 7 or 11
	v.settle(12)
	if !v.IsReady() || v.Revision() != 12 {
		t.Errorf("when nothing is missing: ready %v at %d", v.IsReady(), v.Revision())
	}
	plain("d", 15) // 13 is missing, and made again at 16 below
	v.offer(16, 16, []*Entry{NewEntry(proto.Key{GroupResource: pods, Namespace: "ns", Name: "e"}, 16, []byte(`{"metadata":{}}`), false)})
	if v.Get(pods, "ns", "e") == nil || v.Revision() != 12 {
		t.Errorf("a write of our own behind a gap: %v at %d, want it shown at 12", v.Get(pods, "ns", "e"), v.Revision())
	}
	v.receive(batchMessage("f", 17))
	v.settle(17)
	if v.Revision() != 16 {
		t.Errorf("while a message is held: at %d, want 16", v.Revision())
	}
	v.mu.Lock()
	v.acknowledge(17)
	v.mu.Unlock()
	if v.Revision() != 17 {
		t.Errorf("when it is durable: at %d, want 17", v.Revision())
	}
}

func TestAnObjectThatCameAndWentUnseenIsNoChange(t *testing.T) {
	t.Parallel()
	v := readyView(t, proto.StateStream)
	v.receive(stored(t, "+a@1<0", 0))
	v.receive(stored(t, "-b@5<4", 0))
	if got := v.ChangedAt(pods); got != 1 {
		t.Errorf("the newest change is at %d, want 1", got)
	}
}
