package statelogtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
)

// attacked is a signed log with two gateways, and somebody who may publish everywhere in
// its account and has no key: the operator's credential, or a hole in the server.
type attacked struct {
	t        *testing.T
	conn     *bus.Conn // the attacker's
	one, two *Log
}

func attack(t *testing.T) *attacked {
	server := bustest.Server(t)
	trust := statelog.Trust{Keys: Keys(t, 1)}
	return &attacked{t, bustest.Connect(t, server), Signed(t, bustest.Connect(t, server), trust), Signed(t, bustest.Connect(t, server), trust)}
}

// write publishes a message as somebody who has no key, over whatever is there. Both
// views know what that is: of a version that one alone has seen, the other would show
// the one before until the first has written it again.
func (a *attacked) write(subject string, data []byte, h bus.Header) uint64 {
	a.t.Helper()
	if k, err := proto.ParseStateSubject(subject); err == nil {
		for _, l := range []*Log{a.one, a.two} {
			if _, err := l.Barrier(a.t.Context(), k.GroupResource); err != nil {
				a.t.Fatal(err)
			}
		}
	}
	seq, err := a.conn.PublishStream(a.t.Context(), subject, data, h)
	if err != nil {
		a.t.Fatal(err)
	}
	return seq
}

// comesBack waits until the log itself holds good content again behind a revision, and
// checks that no view ever showed anything else.
func (a *attacked) comesBack(k proto.Key, good []byte, behind uint64) {
	a.t.Helper()
	for _, l := range []*Log{a.one, a.two} {
		if _, err := l.Barrier(a.t.Context(), k.GroupResource); err != nil {
			a.t.Fatal(err)
		}
	}
	until(a.t, func() bool {
		for _, l := range []*Log{a.one, a.two} {
			live := l.View(k.GroupResource).Get(k.GroupResource, k.Namespace, k.Name)
			if live == nil || !bytes.Equal(live.Data(), good) {
				a.t.Fatalf("a view shows %v", live)
			}
		}
		m, err := a.conn.LastOn(a.t.Context(), proto.StreamFor(k.GroupResource).Name, k.Subject())
		return err == nil && m != nil && m.Seq > behind && bytes.Equal(m.Data, good) && len(m.Header[proto.HeaderSignature]) == 1
	})
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come about")
		}
	}
}

func TestWhatNoGatewayWroteIsIgnoredAndTheLastGoodVersionComesBack(t *testing.T) {
	k := Key("clusterrolebindings.rbac.authorization.k8s.io/x")
	good := object("x", 1)
	for name, forge := range map[string]func(a *attacked, signature string) bus.Header{
		"replaced":                            func(*attacked, string) bus.Header { return nil },
		"deleted":                             func(*attacked, string) bus.Header { return bus.Header{proto.HeaderOperation: {proto.OperationDelete}} },
		"replaced by what soon expires":       func(*attacked, string) bus.Header { return bus.Header{bus.HeaderTTL: {"1s"}} },
		"signed with the signature of before": func(_ *attacked, s string) bus.Header { return bus.Header{proto.HeaderSignature: {s}} },
		"signed under another key": func(_ *attacked, s string) bus.Header {
			return bus.Header{proto.HeaderSignature: {"00000000" + s[8:]}}
		},
		"signed with something else": func(*attacked, string) bus.Header { return bus.Header{proto.HeaderSignature: {"x"}} },
	} {
		t.Run(name, func(t *testing.T) {
			a := attack(t)
			if _, err := a.one.Commit(t.Context(), statelog.Write{Key: k, Data: good}); err != nil {
				t.Fatal(err)
			}
			m, err := a.conn.LastOn(t.Context(), "STATE", k.Subject())
			if err != nil {
				t.Fatal(err)
			}
			forged := a.write(k.Subject(), object("x", 666), forge(a, m.Header[proto.HeaderSignature][0]))
			a.comesBack(k, good, forged)
			if got := a.one.Views().Integrity(); got.Refused != 1 || got.Lost != 0 {
				t.Errorf("got %+v", got)
			}
			until(t, func() bool { return a.one.Views().Integrity().Restored+a.two.Views().Integrity().Restored == 1 })
			again := Signed(t, a.conn, statelog.Trust{Keys: Keys(t, 1)})
			if live := again.View(k.GroupResource).Get(k.GroupResource, "", "x"); live == nil || !bytes.Equal(live.Data(), good) {
				t.Errorf("a gateway that starts finds %v", live)
			}
		})
	}
}

func TestAReplayIsRefusedByTheStore(t *testing.T) {
	a := attack(t)
	k := Key("secrets/a/x")
	rev := a.one.Put(k, map[string]any{"metadata": map[string]any{"name": "x"}, "n": 1})
	old, err := a.conn.LastOn(t.Context(), "STATE", k.Subject())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.one.Commit(t.Context(), statelog.Write{Key: k, Expect: rev, Data: object("x", 2)}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.conn.PublishStream(t.Context(), k.Subject(), old.Data, old.Header); !errors.Is(err, bus.ErrWrongSequence) {
		t.Errorf("as it was: got %v", err)
	}
	delete(old.Header, bus.HeaderExpectLastSubjectSeq)
	a.comesBack(k, object("x", 2), a.write(k.Subject(), old.Data, old.Header))
	// Moved to where nothing is, whatever it expects.
	a.write(Key("secrets/b/x").Subject(), old.Data, old.Header)
	if _, err := a.one.Barrier(t.Context(), k.GroupResource); err != nil {
		t.Fatal(err)
	}
	if live := a.one.View(k.GroupResource).Get(k.GroupResource, "b", "x"); live != nil {
		t.Errorf("a Secret was copied: %s", live.Data())
	}
}

func TestAForgedObjectIsNotThereAndStandsInNobodysWay(t *testing.T) {
	a := attack(t)
	k := Key("configmaps/a/x")
	forged := a.write(k.Subject(), object("x", 666), nil)
	if _, err := a.two.Barrier(t.Context(), k.GroupResource); err != nil {
		t.Fatal(err)
	}
	if live := a.two.View(k.GroupResource).Get(k.GroupResource, "a", "x"); live != nil {
		t.Fatalf("it is shown: %s", live.Data())
	}
	rev, err := a.two.Commit(t.Context(), statelog.Write{Key: k, Data: object("x", 1)})
	if err != nil {
		t.Fatal(err)
	}
	a.comesBack(k, object("x", 1), forged)
	// In the same place again, before a writer who knows the good version only.
	a.write(k.Subject(), object("x", 667), nil)
	until(t, func() bool {
		var conflict *statelog.ConflictError
		_, err := a.two.Commit(t.Context(), statelog.Write{Key: k, Expect: rev, Data: object("x", 2)})
		if errors.As(err, &conflict) {
			rev = conflict.Current.Revision()
		} else if err != nil {
			t.Fatal(err)
		}
		return err == nil
	})
	a.comesBack(k, object("x", 2), rev)
}

func TestAForgedFenceDeposesNobody(t *testing.T) {
	a := attack(t)
	mine, err := a.one.AcquireFence(t.Context(), "planner", "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	a.write(proto.FenceSubject("planner"), []byte(`{"holder":"they"}`), nil)
	if _, err := a.one.Barrier(t.Context(), Key("pods/a/b").GroupResource); err != nil {
		t.Fatal(err)
	}
	ctx := statelog.WithFence(t.Context(), statelog.FenceEpoch{Name: "planner", Epoch: mine.Epoch})
	if _, err := a.one.Commit(ctx, statelog.Write{Key: Key("configmaps/a/x"), Data: object("x", 1)}); err != nil {
		t.Errorf("a write under the fence: %v", err)
	}
	if f, err := a.two.AcquireFence(t.Context(), "planner", "late", 0); err != nil || f.Holder != "me" {
		t.Errorf("taking it with an old epoch gave %+v, %v", f, err)
	}
	if f, err := a.two.AcquireFence(t.Context(), "planner", "next", mine.Epoch); err != nil || f.Holder != "next" {
		t.Errorf("got %+v, %v", f, err)
	}
	if _, err := a.one.Commit(ctx, statelog.Write{Key: Key("configmaps/a/y"), Data: object("y", 1)}); !errors.Is(err, statelog.ErrFenced) {
		t.Errorf("a write under the lost fence: %v", err)
	}
}

// Singly, in batches, in groups, under a fence, with what comes first: another gateway
// believes it all.
func TestEveryWayToWriteSigns(t *testing.T) {
	a := attack(t)
	fence, err := a.one.AcquireFence(t.Context(), "f", "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	fenced := statelog.WithFence(t.Context(), statelog.FenceEpoch{Name: "f", Epoch: fence.Epoch})
	var wait sync.WaitGroup
	for i := range 100 {
		for _, resource := range []string{"configmaps", "events", "leases.coordination.k8s.io"} {
			wait.Go(func() {
				k := Key(fmt.Sprintf("%s/a/o%d", resource, i))
				w := statelog.Write{Key: k, Data: object(k.Name, i)}
				if resource == "events" {
					w.TTL = time.Hour
				}
				if resource == "configmaps" {
					w.First = []statelog.Write{{Key: Key(fmt.Sprintf("configmaps/a/first%d", i)), Data: object("first", i)}}
				}
				ctx := t.Context()
				if i%2 == 0 {
					ctx = fenced
				}
				rev, err := a.one.Commit(ctx, w)
				if err == nil && i%3 == 0 {
					_, err = a.one.Commit(ctx, statelog.Write{Key: k, Expect: rev, Data: w.Data, Delete: true})
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	wait.Wait()
	for resource, want := range map[string]int{"configmaps": 166, "events": 66, "leases.coordination.k8s.io": 66} {
		gr := Key(resource + "/a/x").GroupResource
		if _, err := a.two.Barrier(t.Context(), gr); err != nil {
			t.Fatal(err)
		}
		if got := a.two.View(gr).Snapshot(gr).Len(); got != want {
			t.Errorf("%s: another gateway sees %d, want %d", resource, got, want)
		}
	}
	again := Signed(t, a.conn, statelog.Trust{Keys: Keys(t, 1)})
	for _, l := range []*Log{a.one, a.two, again} {
		if got := l.Views().Integrity(); got != (statelog.Integrity{}) {
			t.Errorf("got %+v", got)
		}
	}
}

// What others read of the log, they read by the views.
func TestASourceHandsOverWhatIsBelieved(t *testing.T) {
	a := attack(t)
	a.one.Put(Key("configmaps/a/good"), map[string]any{})
	a.write(Key("configmaps/a/bad").Subject(), object("bad", 1), nil)
	a.one.Put(Key("configmaps/a/last"), map[string]any{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	_ = a.two.Views().Source().Read(ctx, statelog.Reading{Stream: "STATE", Subjects: []string{"state.>"}, From: 1}, statelog.Handler{Message: func(m *bus.StreamMsg) {
		got = append(got, m.Subject)
		if strings.HasSuffix(m.Subject, ".last") {
			cancel()
		}
	}})
	if fmt.Sprint(got) != "[state.core.configmaps.a.good state.core.configmaps.a.last]" {
		t.Errorf("got %v", got)
	}
}

func TestALogThatNobodySignedIsAdoptedOnce(t *testing.T) {
	server := bustest.Server(t)
	conn := bustest.Connect(t, server)
	old := On(t, conn)
	for i := range 450 {
		old.Put(Key(fmt.Sprintf("configmaps/a/o%d", i)), map[string]any{"metadata": map[string]any{"name": "o"}})
	}
	old.Remove(Key("configmaps/a/o0"))
	if _, err := old.Commit(t.Context(), statelog.Write{Key: Key("events/a/e"), Data: object("e", 1), TTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	keys := Keys(t, 1)
	if _, err := trySigned(t, conn, statelog.Trust{Keys: keys}); !errors.Is(err, statelog.ErrNotOurs) {
		t.Fatalf("unasked: got %v", err)
	}
	adopting := Signed(t, conn, statelog.Trust{Keys: keys, Adopt: true})
	if n, err := adopting.Renew(t.Context()); err != nil || n != 451 {
		t.Fatalf("signed %d, %v", n, err)
	}
	if n, err := adopting.Renew(t.Context()); err != nil || n != 0 {
		t.Errorf("again: signed %d, %v", n, err)
	}
	strict := Signed(t, conn, statelog.Trust{Keys: keys})
	if got := strict.Views().Integrity(); got != (statelog.Integrity{}) {
		t.Errorf("got %+v", got)
	}
	for resource, want := range map[string]int{"configmaps": 449, "events": 1} {
		gr := Key(resource + "/a/x").GroupResource
		if got := strict.View(gr).Snapshot(gr).Len(); got != want {
			t.Errorf("%s: %d, want %d", resource, got, want)
		}
	}
	gr := Key("configmaps/a/x").GroupResource
	if _, last := strict.View(gr).Last(gr, "a", "o0"); last == 0 {
		t.Error("the deletion is forgotten")
	}
	if _, err := conn.PublishStream(t.Context(), Key("configmaps/a/late").Subject(), object("late", 1), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := adopting.Barrier(t.Context(), gr); err != nil {
		t.Fatal(err)
	}
	if adopting.View(gr).Get(gr, "a", "late") != nil {
		t.Error("whoever adopted the log still believes what nobody signed")
	}
}

// Each step is a restart of every gateway, so that at any time all know the key of each.
func TestKeysAreChangedOneAfterTheOther(t *testing.T) {
	conn := bustest.Connect(t, bustest.Server(t))
	k := Key("configmaps/a/x")
	for _, step := range []struct {
		what    string
		keys    []byte
		renewed int
		err     error
	}{
		{"the old key", []byte{1}, 0, nil},
		{"the new one is believed too", []byte{1, 2}, 0, nil},
		{"the new one signs", []byte{2, 1}, 1, nil},
		{"the old one is gone", []byte{2}, 0, nil},
		{"another cluster's", []byte{3}, 0, statelog.ErrNotOurs},
	} {
		t.Run(step.what, func(t *testing.T) {
			l, err := trySigned(t, conn, statelog.Trust{Keys: Keys(t, step.keys...)})
			if !errors.Is(err, step.err) {
				t.Fatalf("got %v, want %v", err, step.err)
			}
			if err != nil {
				return
			}
			if n, err := l.Renew(t.Context()); err != nil || n != step.renewed {
				t.Errorf("signed %d, %v; want %d", n, err, step.renewed)
			}
			if step.keys[0] == 1 {
				l.Put(k, map[string]any{"by": step.what})
			}
			if l.View(k.GroupResource).Get(k.GroupResource, "a", "x") == nil {
				t.Error("the object is not believed")
			}
		})
	}
}

// settings asks the store for a stream's settings, and changes them.
func (a *attacked) settings(change map[string]any) map[string]any {
	a.t.Helper()
	var info struct {
		Config map[string]any `json:"config"`
		Error  any            `json:"error"`
	}
	answer, err := a.conn.Request(a.t.Context(), "$JS.API.STREAM.INFO.STATE", nil)
	if err != nil || json.Unmarshal(answer, &info) != nil || info.Error != nil {
		a.t.Fatalf("%s %v", answer, err)
	}
	if change == nil {
		return info.Config
	}
	for k, v := range change {
		info.Config[k] = v
	}
	data, err := json.Marshal(info.Config)
	if err != nil {
		a.t.Fatal(err)
	}
	if answer, err = a.conn.Request(a.t.Context(), "$JS.API.STREAM.UPDATE.STATE", data); err != nil || strings.Contains(string(answer), `"error"`) {
		a.t.Fatalf("%s %v", answer, err)
	}
	return nil
}

func TestAPurgeByTheStreamsSettingsIsPutRight(t *testing.T) {
	a := attack(t)
	k := Key("configmaps/a/x")
	good := object("x", 1)
	if _, err := a.one.Commit(t.Context(), statelog.Write{Key: k, Data: good}); err != nil {
		t.Fatal(err)
	}
	a.one.Put(Key("configmaps/a/y"), map[string]any{})
	before, err := a.conn.StreamState(t.Context(), "STATE")
	if err != nil {
		t.Fatal(err)
	}
	a.settings(map[string]any{"max_msgs": 1, "discard": "old"})
	a.comesBack(k, good, before.LastSeq)
	until(t, func() bool { s := a.settings(nil); return s["max_msgs"] == float64(-1) && s["discard"] == "new" })
	// The server does not let go of these.
	for _, request := range []string{"$JS.API.STREAM.PURGE.STATE", "$JS.API.STREAM.MSG.DELETE.STATE"} {
		answer, err := a.conn.Request(t.Context(), request, []byte(`{"seq":1}`))
		if err != nil || !strings.Contains(string(answer), `"error"`) {
			t.Errorf("%s: %s %v", request, answer, err)
		}
	}
}

func TestADeletedStreamIsMadeAgainAndItsSequencesGoOn(t *testing.T) {
	a := attack(t)
	k := Key("configmaps/a/x")
	good := object("x", 1)
	rev, err := a.one.Commit(t.Context(), statelog.Write{Key: k, Data: good})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		a.one.Put(Key(fmt.Sprintf("configmaps/a/o%d", i)), map[string]any{})
	}
	fence, err := a.one.AcquireFence(t.Context(), "planner", "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := a.conn.Request(t.Context(), "$JS.API.STREAM.DELETE.STATE", nil); err != nil || !strings.Contains(string(answer), `"success":true`) {
		t.Fatalf("%s %v", answer, err)
	}
	until(t, func() bool {
		again := a.one.View(k.GroupResource).Get(k.GroupResource, "a", "x")
		return again != nil && again.Revision() > fence.Epoch && bytes.Equal(again.Data(), good)
	})
	for i := range 50 {
		name := fmt.Sprintf("o%d", i)
		until(t, func() bool {
			e := a.two.View(k.GroupResource).Get(k.GroupResource, "a", name)
			return e != nil && e.Revision() > fence.Epoch
		})
	}
	if a.one.Views().Integrity().Replaced+a.two.Views().Integrity().Replaced == 0 {
		t.Error("nobody noticed")
	}
	// Who held the fence takes it anew.
	until(t, func() bool { return a.one.View(k.GroupResource).Fence("planner").Epoch > fence.Epoch })
	ctx := statelog.WithFence(t.Context(), statelog.FenceEpoch{Name: "planner", Epoch: fence.Epoch})
	if _, err := a.one.Commit(ctx, statelog.Write{Key: Key("configmaps/a/y"), Data: object("y", 1)}); !errors.Is(err, statelog.ErrFenced) {
		t.Errorf("a write under the old epoch: %v", err)
	}
	if f, err := a.one.AcquireFence(t.Context(), "planner", "me again", a.one.View(k.GroupResource).Fence("planner").Epoch); err != nil || f.Holder != "me again" {
		t.Errorf("got %+v, %v", f, err)
	}
	again := Signed(t, a.conn, statelog.Trust{Keys: Keys(t, 1)})
	if n := again.View(k.GroupResource).Snapshot(k.GroupResource).Len(); n != 51 {
		t.Errorf("a gateway that starts finds %d objects", n)
	}
	if _, err := again.View(k.GroupResource).Resume(k.GroupResource, rev); !errors.Is(err, statelog.ErrExpired) {
		t.Errorf("a watch from before: %v", err)
	}
}

func TestAStreamThatWasMadeAnewIsToldOfAndLeftAsItIs(t *testing.T) {
	a := attack(t)
	k := Key("configmaps/a/x")
	for range 3 {
		a.one.Put(k, map[string]any{"metadata": map[string]any{"name": "x"}})
	}
	// Deleted and made anew, until it is before a gateway makes it again.
	until(t, func() bool {
		_, err := a.conn.Request(t.Context(), "$JS.API.STREAM.DELETE.STATE", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := a.conn.Request(t.Context(), "$JS.API.STREAM.CREATE.STATE", []byte(`{"name":"STATE","subjects":["state.>"],"max_msgs_per_subject":1,"retention":"limits","storage":"file","num_replicas":1}`))
		return err == nil && strings.Contains(string(answer), `"did_create":true`)
	})
	until(t, func() bool { return a.one.Views().Integrity().Replaced > 0 && a.two.Views().Integrity().Replaced > 0 })
	if a.one.View(k.GroupResource).Get(k.GroupResource, "a", "x") == nil {
		t.Error("the object is not shown any more")
	}
}

// A fence that soon expires takes the one that is there along.
func TestAFenceThatIsGoneComesBack(t *testing.T) {
	a := attack(t)
	mine, err := a.one.AcquireFence(t.Context(), "planner", "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	forged := a.write(proto.FenceSubject("planner"), []byte(`{"holder":"they"}`), bus.Header{bus.HeaderTTL: {"1s"}})
	until(t, func() bool {
		m, err := a.conn.LastOn(t.Context(), "STATE", proto.FenceSubject("planner"))
		return err == nil && m == nil
	})
	epoch := mine.Epoch
	until(t, func() bool {
		f, err := a.two.AcquireFence(t.Context(), "planner", "next", epoch)
		epoch = f.Epoch
		return err == nil && f.Holder == "next" && f.Epoch > forged
	})
}
