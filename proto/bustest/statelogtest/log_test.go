package statelogtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
)

func object(name string, n int) []byte {
	return []byte(fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":%q,"labels":{"n":"%d"}},"data":{"n":"%d"}}`, name, n, n))
}

func TestCreateIsRefusedWhereAnObjectLives(t *testing.T) {
	l := Open(t)
	k := Key("configmaps/default/a")
	rev, err := l.Commit(t.Context(), statelog.Write{Key: k, Data: object("a", 1)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Commit(t.Context(), statelog.Write{Key: k, Data: object("a", 2)})
	var conflict *statelog.ConflictError
	if !errors.As(err, &conflict) || conflict.Current == nil || conflict.Current.Revision() != rev {
		t.Fatalf("got %v, want a conflict with revision %d", err, rev)
	}
}

func TestObjectCanBeCreatedAgainAfterItsDeletion(t *testing.T) {
	l := Open(t)
	k := Key("configmaps/default/a")
	for round := range 3 {
		rev, err := l.Commit(t.Context(), statelog.Write{Key: k, Data: object("a", round)})
		if err != nil {
			t.Fatalf("round %d: creating: %v", round, err)
		}
		if _, err := l.Commit(t.Context(), statelog.Write{Key: k, Expect: rev, Data: object("a", round), Delete: true}); err != nil {
			t.Fatalf("round %d: deleting: %v", round, err)
		}
		if e := l.View(k.GroupResource).Get(k.GroupResource, k.Namespace, k.Name); e != nil {
			t.Fatalf("round %d: still there: %s", round, e.Data())
		}
	}
}

func TestWhatComesFirstDecides(t *testing.T) {
	for name, crowd := range map[string]int{"one after the other": 1, "in one batch": 40} {
		t.Run(name, func(t *testing.T) {
			l := Open(t)
			l.Put(Key("configmaps/a/taken"), map[string]any{})
			write := func(i int, first string) error {
				_, err := l.Commit(t.Context(), statelog.Write{Key: Key(fmt.Sprintf("configmaps/a/x%d", i)), Data: object("x", i),
					First: []statelog.Write{{Key: Key("configmaps/a/" + first), Data: object(first, i)}, {Key: Key(fmt.Sprintf("configmaps/a/also%d", i)), Data: object("also", i)}}})
				return err
			}
			var wait sync.WaitGroup
			for i := range crowd {
				wait.Go(func() {
					if err := write(i, fmt.Sprintf("y%d", i)); err != nil {
						t.Error(err)
					}
				})
			}
			wait.Go(func() {
				var conflict *statelog.ConflictError
				if err := write(1000, "taken"); !errors.As(err, &conflict) || conflict.Key.Name != "taken" {
					t.Errorf("got %v, want the conflict of what comes first", err)
				}
			})
			wait.Wait()
			gr := Key("configmaps/a/x").GroupResource
			for i := range crowd {
				for _, kind := range []string{"x", "y", "also"} {
					if l.View(gr).Get(gr, "a", fmt.Sprint(kind, i)) == nil {
						t.Errorf("%s%d is missing", kind, i)
					}
				}
			}
			if l.View(gr).Get(gr, "a", "x1000") != nil {
				t.Error("written though what comes first was not")
			}
		})
	}
}

func TestAStrictCreateRestsOnTheLastDeletion(t *testing.T) {
	l := Open(t)
	key := Key("configmaps/a/x")
	gr := key.GroupResource
	l.Put(key, map[string]any{"metadata": map[string]any{"name": "x"}})
	l.Remove(key)
	_, since := l.View(gr).Last(gr, "a", "x")
	l.Put(key, map[string]any{"metadata": map[string]any{"name": "x"}})
	l.Remove(key)
	var conflict *statelog.ConflictError
	if _, err := l.Commit(t.Context(), statelog.Write{Key: key, Data: object("x", 1), Strict: true, Since: since}); !errors.As(err, &conflict) || conflict.Current != nil {
		t.Errorf("after another deletion: got %v, want a conflict with nothing", err)
	}
	if _, since = l.View(gr).Last(gr, "a", "x"); since == 0 {
		t.Error("the view has forgotten the deletion")
	}
	if _, err := l.Commit(t.Context(), statelog.Write{Key: key, Data: object("x", 1), Strict: true, Since: since}); err != nil {
		t.Errorf("after the last deletion: %v", err)
	}
}

// What a writer saw is what counts, not what its process has learnt since.
func TestAStrictCreateIsRefusedByTheLogItself(t *testing.T) {
	conn := bustest.Start(t)
	one, two := On(t, conn), On(t, conn)
	key := Key("configmaps/a/x")
	_, since := one.View(key.GroupResource).Last(key.GroupResource, "a", "x")
	// A tombstone where nothing ever was.
	if _, err := two.Commit(t.Context(), statelog.Write{Key: key, Data: object("x", 0), Delete: true, Strict: true}); err != nil {
		t.Fatal(err)
	}
	var conflict *statelog.ConflictError
	if _, err := one.Commit(t.Context(), statelog.Write{Key: key, Data: object("x", 1), Strict: true, Since: since}); !errors.As(err, &conflict) {
		t.Errorf("got %v, want a conflict", err)
	}
	if _, err := one.Commit(t.Context(), statelog.Write{Key: key, Data: object("x", 1)}); err != nil {
		t.Errorf("whoever does not rest on it: %v", err)
	}
}

func TestWritesOfManyClientsAllArriveAndConflictsFailAlone(t *testing.T) {
	l := Open(t)
	const clients, each = 64, 30
	shared := Key("configmaps/default/shared")
	l.Put(shared, map[string]any{"metadata": map[string]any{"name": "shared"}})
	var wg sync.WaitGroup
	var mu sync.Mutex
	revisions := map[uint64]string{}
	won := 0
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("c%d-%d", c, i)
				rev, err := l.Commit(t.Context(), statelog.Write{Key: Key("configmaps/default/" + name), Data: object(name, i)})
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				mu.Lock()
				if other := revisions[rev]; other != "" {
					t.Errorf("%s and %s both got revision %d", name, other, rev)
				}
				revisions[rev] = name
				mu.Unlock()
				live := l.View(shared.GroupResource).Get(shared.GroupResource, "default", "shared")
				_, err = l.Commit(t.Context(), statelog.Write{Key: shared, Expect: live.Revision(), Data: object("shared", i)})
				var conflict *statelog.ConflictError
				switch {
				case err == nil:
					mu.Lock()
					won++
					mu.Unlock()
				case !errors.As(err, &conflict):
					t.Errorf("shared: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if won == 0 {
		t.Error("no write of the shared object ever won")
	}
	snap := l.View(shared.GroupResource).Snapshot(shared.GroupResource)
	if got, want := snap.Len(), clients*each+1; got != want {
		t.Errorf("the view holds %d objects, want %d", got, want)
	}
	for rev, name := range revisions {
		if e := snap.Get("default", name); e == nil || e.Revision() != rev {
			t.Fatalf("%s was acknowledged at %d, the view has %v", name, rev, e)
		}
	}
	// A second process reads the same from the log.
	views := statelog.OpenViews(t.Context(), l.Conn, zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)))
	other := views.For(shared.GroupResource)
	if err := other.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := other.Snapshot(shared.GroupResource).Len(); got != snap.Len() {
		t.Errorf("another process sees %d objects, want %d", got, snap.Len())
	}
}

func TestWatchGivesEveryChangeInOrderAndResumes(t *testing.T) {
	l := Open(t)
	gr := Key("configmaps/default/a").GroupResource
	start := l.View(gr).Snapshot(gr).Revision()
	var want []string
	for i := range 50 {
		k := Key("configmaps/default/o" + strconv.Itoa(i%7))
		if i%5 == 4 && l.View(gr).Get(gr, k.Namespace, k.Name) != nil {
			want = append(want, fmt.Sprintf("DELETED %s %d", k.Name, l.Remove(k)))
			continue
		}
		typ := "ADDED"
		if l.View(gr).Get(gr, k.Namespace, k.Name) != nil {
			typ = "MODIFIED"
		}
		want = append(want, fmt.Sprintf("%s %s %d", typ, k.Name, l.Put(k, map[string]any{"metadata": map[string]any{"name": k.Name}, "i": i})))
	}
	for from := range want {
		after := start
		if from > 0 {
			if _, err := fmt.Sscanf(want[from-1], "%s %s %d", new(string), new(string), &after); err != nil {
				t.Fatal(err)
			}
		}
		w, err := l.View(gr).Watch(gr, after)
		if err != nil {
			t.Fatalf("watching after %d: %v", after, err)
		}
		var got []string
		for len(got) < len(want)-from {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			events, err := w.Next(ctx)
			cancel()
			if err != nil {
				t.Fatalf("after %d: got %d of %d events: %v", after, len(got), len(want)-from, err)
			}
			for _, ev := range events {
				got = append(got, fmt.Sprintf("%s %s %d", ev.Type, ev.Entry.Key().Name, ev.Entry.Revision()))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want[from:]) {
			t.Fatalf("after %d\n got %v\nwant %v", after, got, want[from:])
		}
	}
}

func TestWatchBelowTheWindowIsExpired(t *testing.T) {
	srv := bustest.Server(t)
	first := On(t, bustest.Connect(t, srv))
	k := Key("configmaps/default/a")
	old := first.Put(k, map[string]any{"metadata": map[string]any{}})
	first.Put(k, map[string]any{"metadata": map[string]any{}, "x": 1})
	second := On(t, bustest.Connect(t, srv))
	if _, err := second.View(k.GroupResource).Watch(k.GroupResource, old); !errors.Is(err, statelog.ErrExpired) {
		t.Errorf("a view that started later let a watch begin before it: %v", err)
	}
}

func TestSnapshotDoesNotChange(t *testing.T) {
	l := Open(t)
	gr := Key("configmaps/default/a").GroupResource
	l.View(gr).AddIndex(gr, "n", func(e *statelog.Entry) []string { return []string{e.Meta().Labels["n"]} })
	for i := range 10 {
		name := "o" + strconv.Itoa(i)
		if _, err := l.Commit(t.Context(), statelog.Write{Key: Key("configmaps/default/" + name), Data: object(name, i%2)}); err != nil {
			t.Fatal(err)
		}
	}
	snap := l.View(gr).Snapshot(gr)
	l.Remove(Key("configmaps/default/o0"))
	l.Put(Key("configmaps/other/new"), map[string]any{"metadata": map[string]any{}})
	names := func(s statelog.Snapshot, ns string) (out []string) {
		s.Ascend(ns, func(e *statelog.Entry) bool { out = append(out, e.Key().Name); return true })
		return
	}
	indexed := func(s statelog.Snapshot) (n int) {
		s.ByIndex("n", "0", func(*statelog.Entry) bool { n++; return true })
		return
	}
	if got := names(snap, "default"); len(got) != 10 || snap.Len() != 10 || indexed(snap) != 5 {
		t.Errorf("the old snapshot changed: %v, %d by index", got, indexed(snap))
	}
	now := l.View(gr).Snapshot(gr)
	if len(names(now, "default")) != 9 || len(names(now, "other")) != 1 || now.Len() != 10 || indexed(now) != 4 {
		t.Errorf("the new snapshot is wrong: %v %v, %d by index", names(now, "default"), names(now, "other"), indexed(now))
	}
}

func TestAGroupTakesWhatComesFirstAlong(t *testing.T) {
	l := Open(t)
	l.Put(Key("configmaps/a/taken"), map[string]any{})
	both := func(first string) (errs [2]error) {
		group := statelog.NewGroup(2)
		ctx := statelog.WithGroup(t.Context(), group)
		var wait sync.WaitGroup
		wait.Go(func() {
			_, errs[0] = l.Commit(ctx, statelog.Write{Key: Key("configmaps/a/x"), Data: object("x", 1), First: []statelog.Write{{Key: Key("configmaps/a/" + first), Data: object(first, 1)}}})
		})
		wait.Go(func() { _, errs[1] = l.Commit(ctx, statelog.Write{Key: Key("configmaps/a/z"), Data: object("z", 1)}) })
		wait.Wait()
		return errs
	}
	if errs := both("taken"); errs[0] == nil || errs[1] == nil {
		t.Errorf("got %v, want both to fail", errs)
	}
	if errs := both("y"); errs[0] != nil || errs[1] != nil {
		t.Errorf("got %v", errs)
	}
}

func TestAtomicGroupIsAllOrNothing(t *testing.T) {
	l := Open(t)
	l.Put(Key("configmaps/default/taken"), map[string]any{"metadata": map[string]any{}})
	run := func(names ...string) []error {
		g := statelog.NewGroup(len(names))
		errs := make([]error, len(names))
		var wg sync.WaitGroup
		for i, name := range names {
			wg.Go(func() {
				_, errs[i] = l.Commit(statelog.WithGroup(t.Context(), g), statelog.Write{Key: Key("configmaps/default/" + name), Data: object(name, i)})
				g.Leave(errs[i] != nil)
			})
		}
		wg.Wait()
		return errs
	}
	gr := Key("configmaps/default/a").GroupResource
	for i, err := range run("a", "b", "taken", "c") {
		if err == nil {
			t.Errorf("write %d of a failing group succeeded", i)
		}
	}
	if n := l.View(gr).Snapshot(gr).Len(); n != 1 {
		t.Errorf("a failing group wrote %d objects", n-1)
	}
	for i, err := range run("a", "b", "c") {
		if err != nil {
			t.Errorf("write %d: %v", i, err)
		}
	}
}

func TestFencedWritesStopWhenTheFenceIsTaken(t *testing.T) {
	l := Open(t)
	mine, err := l.AcquireFence(t.Context(), "planner", "me", 0)
	if err != nil || mine.Holder != "me" {
		t.Fatalf("got %+v, %v", mine, err)
	}
	ctx := statelog.WithFence(t.Context(), statelog.FenceEpoch{Name: "planner", Epoch: mine.Epoch})
	if _, err := l.Commit(ctx, statelog.Write{Key: Key("configmaps/default/a"), Data: object("a", 1)}); err != nil {
		t.Fatalf("a write under a valid fence: %v", err)
	}
	if _, err := l.Commit(ctx, statelog.Write{Key: Key("events/default/a"), Data: object("a", 1)}); err != nil {
		t.Fatalf("a write to another stream under a valid fence: %v", err)
	}
	if lost, err := l.AcquireFence(t.Context(), "planner", "late", 0); err != nil || lost.Holder != "me" || lost.Epoch != mine.Epoch {
		t.Fatalf("taking with an old epoch gave %+v, %v", lost, err)
	}
	if theirs, err := l.AcquireFence(t.Context(), "planner", "they", mine.Epoch); err != nil || theirs.Holder != "they" {
		t.Fatalf("got %+v, %v", theirs, err)
	}
	if _, err := l.Commit(ctx, statelog.Write{Key: Key("configmaps/default/b"), Data: object("b", 1)}); !errors.Is(err, statelog.ErrFenced) {
		t.Fatalf("a write under a lost fence: %v", err)
	}
	if _, err := l.Commit(ctx, statelog.Write{Key: Key("events/default/b"), Data: object("b", 1)}); !errors.Is(err, statelog.ErrFenced) {
		t.Fatalf("a write to another stream under a lost fence: %v", err)
	}
}

func TestAcknowledgedWritesSurviveTheServersRestart(t *testing.T) {
	dir := t.TempDir()
	srv := bustest.ServerIn(t, dir)
	l := On(t, bustest.Connect(t, srv))
	acked := map[string]uint64{}
	for i := range 40 {
		k := Key("configmaps/default/o" + strconv.Itoa(i%9))
		acked[k.Name] = l.Put(k, map[string]any{"metadata": map[string]any{"name": k.Name}, "i": i})
	}
	srv.Shutdown()
	again := On(t, bustest.Connect(t, bustest.ServerIn(t, dir)))
	gr := proto.GroupResource{Resource: "configmaps"}
	for name, rev := range acked {
		if e := again.View(gr).Get(gr, "default", name); e == nil || e.Revision() != rev {
			t.Errorf("%s was acknowledged at %d, after the restart it is %v", name, rev, e)
		}
	}
	next := again.Put(Key("configmaps/default/next"), map[string]any{"metadata": map[string]any{}})
	for name, rev := range acked {
		if next <= rev {
			t.Errorf("revision %d was given out again (%s has %d)", next, name, rev)
		}
	}
}

func TestBarrierSeesWritesOfAnotherGateway(t *testing.T) {
	srv := bustest.Server(t)
	a, b := On(t, bustest.Connect(t, srv)), On(t, bustest.Connect(t, srv))
	k := Key("configmaps/default/a")
	for i := range 200 {
		rev := a.Put(k, map[string]any{"metadata": map[string]any{}, "i": i})
		if _, err := b.Barrier(t.Context(), k.GroupResource); err != nil {
			t.Fatal(err)
		}
		if e := b.View(k.GroupResource).Get(k.GroupResource, "default", "a"); e == nil || e.Revision() < rev {
			t.Fatalf("a read behind the barrier missed revision %d: %v", rev, e)
		}
	}
}

// Signed and not, each in turn, so that the machine's mood meets both.
func BenchmarkCommit(b *testing.B) {
	pad := strings.Repeat("x", 2000)
	for _, clients := range []int{1, 16, 128} {
		for name, open := range map[string]func(b *testing.B) *Log{
			"unsigned": func(b *testing.B) *Log { return Open(b) },
			"signed": func(b *testing.B) *Log {
				return Signed(b, bustest.Connect(b, bustest.Server(b)), statelog.Trust{Keys: Keys(b, 1)})
			},
		} {
			b.Run(fmt.Sprintf("%d/%s", clients, name), func(b *testing.B) {
				l := open(b)
				l.SetQuota(statelog.Quota{Total: 4 << 30, Namespace: 4 << 30})
				var wg sync.WaitGroup
				next := make(chan int)
				for range clients {
					wg.Go(func() {
						for i := range next {
							name := fmt.Sprintf("o%d", i)
							if _, err := l.Commit(b.Context(), statelog.Write{Key: Key("configmaps/default/" + name), Data: object(name+pad, i)}); err != nil {
								b.Error(err)
							}
						}
					})
				}
				for i := 0; b.Loop(); i++ {
					next <- i
				}
				close(next)
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
			})
		}
	}
}

func TestInformerShowsWhatIsThereAndEveryChange(t *testing.T) {
	l := Open(t)
	gr := Key("configmaps/default/a").GroupResource
	type configMap struct {
		Metadata struct{ Name, ResourceVersion string }
	}
	l.Put(Key("configmaps/default/a"), map[string]any{"metadata": map[string]any{"name": "a"}})
	i := statelog.NewInformer[configMap](l.View(gr), gr, zap.NewNop())
	changes := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_ = i.Run(ctx, func(old, obj *configMap) {
			switch {
			case old == nil:
				changes <- "+" + obj.Metadata.Name
			case obj == nil:
				changes <- "-" + old.Metadata.Name
			default:
				changes <- "~" + obj.Metadata.Name
			}
		})
	}()
	<-i.Synced()
	l.Put(Key("configmaps/default/a"), map[string]any{"metadata": map[string]any{"name": "a"}, "x": 1})
	// What cannot be decoded is passed over, and ends nothing.
	l.Put(Key("configmaps/default/b"), map[string]any{"metadata": map[string]any{"name": map[string]any{}}})
	rev := l.Remove(Key("configmaps/default/a"))
	for _, want := range []string{"+a", "~a", "-a"} {
		if got := <-changes; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	if i.Revision() != rev || len(i.List("")) != 0 {
		t.Errorf("the informer is at %d with %d objects, want %d and none", i.Revision(), len(i.List("")), rev)
	}
}

func TestNoListIsAtRevisionZero(t *testing.T) {
	l := Open(t)
	for _, s := range proto.StateStreams() {
		gr := map[string]proto.GroupResource{
			"STATE": {Resource: "configmaps"}, "LEASES": {Group: "coordination.k8s.io", Resource: "leases"}, "EVENTS": {Resource: "events"},
		}[s.Name]
		if _, err := l.Barrier(t.Context(), gr); err != nil {
			t.Fatal(err)
		}
		if rev := l.View(gr).Snapshot(gr).Revision(); rev == 0 {
			t.Errorf("%s: got 0", s.Name)
		}
	}
}

func TestAWatchGoesOnInTheViewsOfANewProcess(t *testing.T) {
	for name, crowd := range map[string]int{"one after the other": 1, "in one batch": 40} {
		t.Run(name, func(t *testing.T) {
			conn := bustest.Start(t)
			l := On(t, conn)
			k := Key("configmaps/a/busy")
			l.Put(k, map[string]any{"n": 1})
			l.Put(k, map[string]any{"n": 2})
			seen := l.Put(k, map[string]any{"n": 3})
			var wait sync.WaitGroup
			for i := range crowd {
				wait.Go(func() { l.Put(Key(fmt.Sprintf("configmaps/a/new-%d", i)), map[string]any{}) })
			}
			wait.Wait()
			l.Put(k, map[string]any{"n": 4})
			again := On(t, conn)
			if err := again.Views().Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			view := again.View(k.GroupResource)
			watch, err := view.Resume(k.GroupResource, seen)
			if err != nil {
				t.Fatalf("from revision %d: %v", seen, err)
			}
			defer watch.Stop()
			events, _, err := watch.Poll()
			if err != nil || len(events) != crowd+1 || events[crowd].Entry.Key() != k || events[crowd].Type != statelog.Modified || events[0].Type != statelog.Added {
				t.Errorf("got %d events, %v; want %d additions and a change", len(events), err, crowd)
			}
			if _, err := view.Resume(k.GroupResource, seen-1); !errors.Is(err, statelog.ErrExpired) {
				t.Errorf("from before the version that is missing: got %v", err)
			}
		})
	}
}

// A namespace that is full takes nothing new, lets what is there be changed and ended, and
// has room again when something was deleted; nobody else is hindered.
func TestANamespaceHasABudgetAndTheStoreABound(t *testing.T) {
	conn := bustest.Start(t)
	l := On(t, conn)
	const kib = 1 << 10
	l.SetQuota(statelog.Quota{Total: 2000 * kib, Namespace: 1000 * kib})
	body := func(bytes int, ending bool) []byte {
		meta := map[string]any{"name": "x"}
		if ending {
			meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
		}
		return Encode(t, map[string]any{"metadata": meta, "data": strings.Repeat("x", bytes)})
	}
	fill := func(namespace string) (revisions []uint64, _ error) {
		for i := 0; ; i++ {
			rev, err := l.Commit(t.Context(), statelog.Write{Key: Key(fmt.Sprintf("configmaps/%s/o%d", namespace, i)), Data: body(100*kib, false)})
			if err != nil {
				return revisions, err
			}
			if revisions = append(revisions, rev); i == 100 {
				return revisions, nil
			}
		}
	}
	var over *statelog.QuotaError
	full, err := fill("a")
	if !errors.As(err, &over) || over.Budget != statelog.NamespaceBudget || over.Key.Namespace != "a" || len(full) != 9 {
		t.Fatalf("got %v after %d objects", err, len(full))
	}
	first := Key("configmaps/a/o0")
	rev, err := l.Commit(t.Context(), statelog.Write{Key: first, Expect: full[0], Data: body(110*kib, false)})
	if err != nil {
		t.Errorf("a change of what is there: %v", err)
	}
	if _, err := l.Commit(t.Context(), statelog.Write{Key: Key("configmaps/a/y"), Data: body(kib, false),
		First: []statelog.Write{{Key: Key("configmaps/a/z"), Data: body(200*kib, false)}}}); !errors.As(err, &over) || over.Key.Name != "z" {
		t.Errorf("something that comes first and is too large: %v", err)
	}
	if err := atOnce(l, t.Context(), "a", 100*kib, body); !errors.As(err, &over) {
		t.Errorf("in a group: %v", err)
	}
	if _, err := l.Commit(t.Context(), statelog.Write{Key: first, Expect: rev, Data: body(400*kib, false)}); !errors.As(err, &over) {
		t.Errorf("a change beyond the reserve: %v", err)
	}
	if rev, err = l.Commit(t.Context(), statelog.Write{Key: first, Expect: rev, Data: body(400*kib, true)}); err != nil {
		t.Errorf("an object that is being ended: %v", err)
	}
	if _, err := l.Commit(t.Context(), statelog.Write{Key: first, Expect: rev, Data: body(400*kib, true), Delete: true}); err != nil {
		t.Errorf("a deletion: %v", err)
	}
	if _, err := l.Commit(t.Context(), statelog.Write{Key: first, Data: body(90*kib, false)}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if _, err := fill("b"); !errors.As(err, &over) || over.Budget != statelog.NamespaceBudget {
		t.Errorf("another namespace: %v", err)
	}
	if _, err := fill("c"); !errors.As(err, &over) || over.Budget != statelog.TotalBudget {
		t.Errorf("beyond the bound of all: %v", err)
	}
	// A gateway that starts counts what there is.
	again := On(t, conn)
	gr := first.GroupResource
	for _, namespace := range []string{"a", "b", "c", ""} {
		if got, want := again.View(gr).Usage(namespace), l.View(gr).Usage(namespace); got != want || got.Total == 0 {
			t.Errorf("%q: counts %+v, want %+v", namespace, got, want)
		}
	}
}

// Objects of no namespace have a budget as each namespace has one, and one does not spend
// the other's.
func TestTheClustersObjectsHaveABudget(t *testing.T) {
	conn := bustest.Start(t)
	l := On(t, conn)
	const kib = 1 << 10
	l.SetQuota(statelog.Quota{Cluster: 500 * kib, Namespace: 300 * kib})
	body := func(bytes int, more string) []byte {
		return []byte(`{"metadata":{"name":"x"` + more + `},"data":"` + strings.Repeat("x", bytes) + `"}`)
	}
	var over *statelog.QuotaError
	var revisions []uint64
	var err error
	for err == nil && len(revisions) < 100 {
		var rev uint64
		if rev, err = l.Commit(t.Context(), statelog.Write{Key: Key(fmt.Sprintf("nodes/n%d", len(revisions))), Data: body(100*kib, "")}); err == nil {
			revisions = append(revisions, rev)
		}
	}
	if !errors.As(err, &over) || over.Budget != statelog.ClusterBudget || len(revisions) != 4 || !strings.Contains(err.Error(), "the objects of no namespace take 0.4") {
		t.Fatalf("got %v after %d objects", err, len(revisions))
	}
	first, rev := Key("nodes/n0"), uint64(0)
	if _, err := l.Commit(t.Context(), statelog.Write{Key: Key("configmaps/a/c"), Data: body(200*kib, "")}); err != nil {
		t.Errorf("a namespace beside it: %v", err)
	}
	if _, err := l.Commit(t.Context(), statelog.Write{Key: Key("configmaps/a/d"), Data: body(200*kib, "")}); !errors.As(err, &over) || over.Budget != statelog.NamespaceBudget {
		t.Errorf("a namespace that is full beside it: %v", err)
	}
	if rev, err = l.Commit(t.Context(), statelog.Write{Key: first, Expect: revisions[0], Data: body(110*kib, "")}); err != nil {
		t.Errorf("a change of what is there: %v", err)
	}
	if _, err := l.Commit(t.Context(), statelog.Write{Key: first, Expect: rev, Data: body(400*kib, "")}); !errors.As(err, &over) || over.Budget != statelog.ClusterBudget {
		t.Errorf("a change beyond the reserve: %v", err)
	}
	if rev, err = l.Commit(t.Context(), statelog.Write{Key: first, Expect: rev, Data: body(400*kib, `,"deletionTimestamp":"2026-01-01T00:00:00Z"`)}); err != nil {
		t.Errorf("an object that is being ended: %v", err)
	}
	if _, err := l.Commit(t.Context(), statelog.Write{Key: first, Expect: rev, Data: body(kib, ""), Delete: true}); err != nil {
		t.Errorf("a deletion: %v", err)
	}
	if _, err := l.Commit(t.Context(), statelog.Write{Key: first, Data: body(90*kib, "")}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if got, want := On(t, conn).View(first.GroupResource).Usage(""), l.View(first.GroupResource).Usage(""); got != want || got.Namespace < 390*kib {
		t.Errorf("a gateway that starts counts %+v, want %+v", got, want)
	}
}

// atOnce writes an object of that size in a group with another.
func atOnce(l *Log, ctx context.Context, namespace string, size int, body func(int, bool) []byte) error {
	g := statelog.NewGroup(2)
	errs := make([]error, 2)
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() {
			_, errs[i] = l.Commit(statelog.WithGroup(ctx, g), statelog.Write{Key: Key(fmt.Sprintf("configmaps/%s/g%d", namespace, i)), Data: body(i*size, false)})
			g.Leave(errs[i] != nil)
		})
	}
	wait.Wait()
	return errs[1]
}
