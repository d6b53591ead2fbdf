package statelogtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
)

// under takes a fence and gives the context of its holder.
func under(t *testing.T, l *Log, fence string) context.Context {
	t.Helper()
	f, err := l.AcquireFence(t.Context(), fence, "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	return statelog.WithFence(t.Context(), statelog.FenceEpoch{Name: fence, Epoch: f.Epoch})
}

// Of fenced writes that wait together those fail that another gateway was faster with, as
// conflicts, and no other.
func TestAFencedWriteThatComesTooLateFailsAlone(t *testing.T) {
	server := bustest.Server(t)
	mine, others := On(t, bustest.Connect(t, server)), On(t, bustest.Connect(t, server))
	ctx := under(t, mine, "planner")
	const objects = 60
	for round := range 5 {
		var before [objects]uint64
		for i := range objects {
			before[i] = others.Put(Key(fmt.Sprint("configmaps/default/o", i)), map[string]any{"metadata": map[string]any{}, "round": round})
		}
		if _, err := mine.Barrier(t.Context(), Key("configmaps/default/o").GroupResource); err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		var errs [2][objects]error
		for i := range objects {
			k := Key(fmt.Sprint("configmaps/default/o", i))
			wait.Go(func() {
				_, errs[0][i] = mine.Commit(ctx, statelog.Write{Key: k, Expect: before[i], Data: object(k.Name, i)})
			})
			if i%2 == 0 {
				wait.Go(func() {
					_, errs[1][i] = others.Commit(t.Context(), statelog.Write{Key: k, Expect: before[i], Data: object(k.Name, -i)})
				})
			}
		}
		wait.Wait()
		for i := range objects {
			won := 0
			for _, err := range []error{errs[0][i], errs[1][i]} {
				var conflict *statelog.ConflictError
				switch {
				case err == nil:
					won++
				case !errors.As(err, &conflict) || i%2 == 1:
					t.Errorf("round %d, object %d: %v", round, i, err)
				}
			}
			if want := 2 - i%2; i%2 == 0 && won != 1 || i%2 == 1 && won != want+1 {
				t.Errorf("round %d, object %d: %d of its writes succeeded", round, i, won)
			}
		}
	}
}

// The tombstone that a fenced create replaces may be gone from the store while the view
// still remembers it.
func TestAFencedCreateReplacesAForgottenTombstone(t *testing.T) {
	server := bustest.Server(t)
	l := On(t, bustest.Connect(t, server))
	ctx := under(t, l, "planner")
	k := Key("configmaps/default/a")
	l.Put(k, map[string]any{"metadata": map[string]any{}})
	l.Remove(k)
	purge(t, l.Conn, k.Subject())
	var errs [3]error
	var wait sync.WaitGroup
	for i, name := range []string{"a", "b", "c"} {
		wait.Go(func() {
			_, errs[i] = l.Commit(ctx, statelog.Write{Key: Key("configmaps/default/" + name), Data: object(name, 1)})
		})
	}
	wait.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Error(err)
	}
}

// purge takes a subject's messages out of the store, as their expiry does.
func purge(t *testing.T, conn *bus.Conn, subject string) {
	t.Helper()
	m, err := conn.LastOn(t.Context(), "STATE", subject)
	if err != nil || m == nil {
		t.Fatalf("got %v, %v", m, err)
	}
	// The stream does not allow deletions: a tombstone that expires soon takes its place.
	if _, err := conn.PublishStream(t.Context(), subject, m.Data, bus.Header{bus.HeaderTTL: {"1s"}, proto.HeaderOperation: {proto.OperationDelete}}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if m, err := conn.LastOn(t.Context(), "STATE", subject); err == nil && m == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the message does not expire")
		}
	}
}

func TestWithoutAStoreEveryWriteSaysUnavailable(t *testing.T) {
	server := bustest.Server(t)
	l := On(t, bustest.Connect(t, server))
	fenced := under(t, l, "planner")
	server.Shutdown()
	group := statelog.NewGroup(1)
	for name, ctx := range map[string]context.Context{
		"alone": t.Context(), "fenced": fenced, "in a group": statelog.WithGroup(t.Context(), group),
	} {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		_, err := l.Commit(ctx, statelog.Write{Key: Key("configmaps/default/" + name[:2]), Data: object("x", 1)})
		cancel()
		if !errors.Is(err, statelog.ErrUnavailable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
