// Package feedtest holds the specification of proto/feed, and of what passes between
// the accounts of the bus, as tests against a real server.
package feedtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/feed"
	"kubus.dev/proto/statelog"
)

var (
	services = proto.GroupResource{Resource: "services"}
	secrets  = proto.GroupResource{Resource: "secrets"}
)

// gateway is as much of one as readers need, until stop.
type gateway struct {
	t    *testing.T
	conn *bus.Conn
	log  *statelog.Log
	stop func()
}

func startGateway(t *testing.T, a *bustest.Accounts) *gateway {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	conn := a.Connect("gateway")
	views := statelog.OpenViews(ctx, conn, zap.NewNop())
	log, err := statelog.OpenLog(ctx, conn, views, 1, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := views.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	sub, err := feed.Serve(ctx, conn, views)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Publish(proto.GatewayHelloSubject, nil); err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, conn: conn, log: log}
	g.stop = sync.OnceFunc(func() {
		sub.Stop()
		cancel()
		_ = conn.Drain()
	})
	t.Cleanup(g.stop)
	return g
}

func (g *gateway) put(gr proto.GroupResource, name string, expect uint64) uint64 {
	g.t.Helper()
	rev, err := g.log.Commit(g.t.Context(), statelog.Write{
		Key: proto.Key{GroupResource: gr, Namespace: "a", Name: name}, Expect: expect,
		Data: fmt.Appendf(nil, `{"metadata":{"name":%q,"uid":"%d"}}`, name, expect),
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return rev
}

func names(s statelog.Snapshot) (out []string) {
	s.Ascend("", func(e *statelog.Entry) bool {
		out = append(out, e.Key().Name)
		return true
	})
	return out
}

func TestAReaderSeesWhatItMayReadAndNothingElse(t *testing.T) {
	a := bustest.WithAccounts(t, "n")
	g := startGateway(t, a)
	g.put(services, "before", 0)
	g.put(secrets, "hidden", 0)
	proxy := feed.NewLog(a.Connect(proto.ProxyName("n")), proto.ProxyName("n"), zap.NewNop())
	// Asked for everything, it gets what the role may read.
	view := statelog.OpenViewsFrom(t.Context(), proxy, zap.NewNop()).Stream(proto.StateStream)
	if err := view.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := g.put(services, "after", 0)
	g.put(secrets, "hidden-too", 0)
	if err := view.WaitFor(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	last = g.put(services, "last", 0) // the Secret was before it
	if err := view.WaitFor(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if got := names(view.Snapshot(services)); !slices.Equal(got, []string{"after", "before", "last"}) {
		t.Errorf("Services: %q", got)
	}
	if got := names(view.Snapshot(secrets)); len(got) > 0 {
		t.Errorf("Secrets: %q", got)
	}
	if _, err := proxy.StreamState(t.Context(), "LEASES"); err == nil {
		t.Error("the proxy was told of LEASES")
	}
}

// What a role needs at times only has views of its own, beside those that stay.
func TestAReaderMayReadMoreForAWhile(t *testing.T) {
	a := bustest.WithAccounts(t, "n")
	g := startGateway(t, a)
	pods := proto.GroupResource{Resource: "pods"}
	g.put(pods, "before", 0)
	g.put(services, "before", 0)
	proxy := feed.NewLog(a.Connect(proto.ProxyName("n")), proto.ProxyName("n"), zap.NewNop())
	stays := statelog.OpenViewsFrom(t.Context(), proxy, zap.NewNop(), services)
	if err := stays.Ready(t.Context(), services); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		more := statelog.OpenViewsFrom(ctx, proxy, zap.NewNop(), pods)
		more.KeepLittle()
		if err := more.Ready(ctx, pods); err != nil {
			t.Fatal(err)
		}
		if got := names(more.For(pods).Snapshot(pods)); !slices.Equal(got, []string{"before"}) {
			t.Errorf("Pods: %q", got)
		}
		cancel()
		if err := more.Wait(); err != nil {
			t.Errorf("the end of the views: %v", err)
		}
	}
	last := g.put(services, "after", 0)
	if err := stays.For(services).WaitFor(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if got := names(stays.For(services).Snapshot(services)); !slices.Equal(got, []string{"after", "before"}) {
		t.Errorf("Services: %q", got)
	}
	if got := names(stays.For(pods).Snapshot(pods)); len(got) > 0 {
		t.Errorf("Pods in the views of Services: %q", got)
	}
}

// The members of a bulk are one batch, which others see only when it is on disk.
func TestAReaderSeesBatchesWholeAndWithTheirHeaders(t *testing.T) {
	a := bustest.WithAccounts(t, "n")
	g := startGateway(t, a)
	reader := feed.NewLog(a.Connect("events"), "events", zap.NewNop())
	got := make(chan *bus.StreamMsg, 1000)
	go func() {
		_ = reader.Read(t.Context(), statelog.Reading{Stream: "STATE", Subjects: []string{"state.>"}, From: 1}, statelog.Handler{Message: func(m *bus.StreamMsg) { got <- m }})
	}()
	var wait sync.WaitGroup
	for i := range 200 {
		wait.Go(func() { g.put(services, fmt.Sprint("s", i), 0) })
	}
	wait.Wait()
	last := uint64(0)
	for range 200 {
		m := <-got
		if m.Seq <= last || m.Header.Get(proto.HeaderOperation) != proto.OperationCreate || m.Header.Get(proto.HeaderRequestID) == "" || m.Header.Get(bus.HeaderBatchID) != "" || m.Time.IsZero() {
			t.Fatalf("after %d: %+v", last, m)
		}
		last = m.Seq
	}
}

func TestAReaderGoesOnWhereItWasWhenAnotherGatewayComes(t *testing.T) {
	a := bustest.WithAccounts(t, "n")
	first := startGateway(t, a)
	reader := feed.NewLog(a.Connect("controllers-objects"), "controllers-objects", zap.NewNop())
	view := statelog.OpenViewsFrom(t.Context(), reader, zap.NewNop()).Stream(proto.StateStream)
	seen := make(chan uint64, 100)
	rev := first.put(services, "s", 0)
	if err := view.WaitFor(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	w, err := view.Watch(services, rev)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	go func() {
		for {
			events, err := w.Next(t.Context())
			if err != nil {
				return
			}
			for _, e := range events {
				seen <- e.Entry.Revision()
			}
		}
	}()
	first.stop()
	second := startGateway(t, a)
	for range 20 {
		rev = second.put(services, "s", rev)
		select {
		case got := <-seen:
			if got != rev {
				t.Fatalf("saw %d, want %d", got, rev)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("did not see %d", rev)
		}
	}
}

func TestALargeLogPassesAWindowAtATime(t *testing.T) {
	a := bustest.WithAccounts(t, "n")
	g := startGateway(t, a)
	var wait sync.WaitGroup
	data := fmt.Appendf(nil, `{"metadata":{"name":"x"},"data":%q}`, make([]byte, 100<<10))
	for i := range 40 {
		wait.Go(func() {
			if _, err := g.log.Commit(t.Context(), statelog.Write{Key: proto.Key{GroupResource: services, Namespace: "a", Name: fmt.Sprint("s", i)}, Data: data}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	views := statelog.OpenViewsFrom(t.Context(), feed.NewLog(a.Connect("dns"), "dns", zap.NewNop()), zap.NewNop(), services)
	if err := views.Ready(t.Context(), services); err != nil {
		t.Fatal(err)
	}
	if got := views.For(services).Snapshot(services).Len(); got != 40 {
		t.Errorf("%d objects, want 40", got)
	}
}

// A reader that does not keep up gets from the store what is left there, and is told up to
// where nothing is missing only when that is so.
func TestASlowReaderIsNotToldThatWhatItMissedIsThere(t *testing.T) {
	a := bustest.WithAccounts(t, "n")
	g := startGateway(t, a)
	const objects = 8
	revs := map[string]uint64{}
	for i := range objects {
		name := fmt.Sprint("s", i)
		revs[proto.Key{GroupResource: services, Namespace: "a", Name: name}.Subject()] = g.put(services, name, 0)
	}
	reader := feed.NewLog(a.Connect("controllers-objects"), "controllers-objects", zap.NewNop())
	type told struct {
		m       *bus.StreamMsg
		settled uint64
	}
	got := make(chan told) // nobody takes what comes while the objects are written again and again
	go func() {
		_ = reader.Read(t.Context(), statelog.Reading{Stream: "STATE", Subjects: []string{"state.>"}, From: 1}, statelog.Handler{
			Message: func(m *bus.StreamMsg) { got <- told{m: m} },
			Settled: func(seq uint64) { got <- told{settled: seq} },
		})
	}()
	seen := map[string]uint64{}
	first := <-got
	seen[first.m.Subject] = first.m.Seq
	filler := fmt.Appendf(nil, `{"metadata":{"name":"x"},"data":%q}`, make([]byte, 200<<10))
	type write struct {
		subject string
		seq     uint64
	}
	var written []write
	for range 20 {
		var wait sync.WaitGroup
		var mu sync.Mutex
		for i := range objects {
			k := proto.Key{GroupResource: services, Namespace: "a", Name: fmt.Sprint("s", i)}
			wait.Go(func() {
				mu.Lock()
				expect := revs[k.Subject()]
				mu.Unlock()
				rev, err := g.log.Commit(t.Context(), statelog.Write{Key: k, Expect: expect, Data: filler})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				revs[k.Subject()] = rev
				written = append(written, write{k.Subject(), rev})
			})
		}
		wait.Wait()
	}
	last := uint64(0)
	for _, w := range written {
		last = max(last, w.seq)
	}
	for settled := uint64(0); settled < last; {
		select {
		case now := <-got:
			if now.m != nil {
				seen[now.m.Subject] = now.m.Seq
				continue
			}
			settled = now.settled
			for _, w := range written {
				if w.seq <= settled && seen[w.subject] < w.seq {
					t.Fatalf("settled up to %d without %s of %d", settled, w.subject, w.seq)
				}
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("settled up to %d of %d", settled, last)
		}
	}
}
