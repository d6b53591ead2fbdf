package statelogtest

import (
	"testing"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
)

// Three servers keep each message on two of them before it is acknowledged. What is signed
// is what one server alone would have: the same promises hold, also while one is gone.
func TestASignedLogOnThreeServers(t *testing.T) {
	servers := bustest.WithServers(t, "n", 3)
	trust := statelog.Trust{Keys: Keys(t, 1)}
	open := func(replicas int) *Log {
		conn, logger := servers.Connect("gateway"), zap.NewNop()
		views := statelog.OpenSignedViews(t.Context(), conn, trust, logger)
		l, err := statelog.OpenLog(t.Context(), conn, views, replicas, logger)
		if err == nil {
			err = views.Trusted(t.Context())
		}
		if err != nil {
			t.Fatalf("opening the log: %v", err)
		}
		return &Log{Log: l, Conn: conn, t: t}
	}
	one, two := open(3), open(1) // who knows of one server takes no replicas away
	a := &attacked{t, servers.Connect("operator"), one, two}
	if state, err := one.Conn.StreamState(t.Context(), "STATE"); err != nil || state.Replicas != 3 {
		t.Fatalf("STATE is %+v, %v", state, err)
	}
	k := Key("configmaps/default/a")
	rev, err := one.Commit(t.Context(), statelog.Write{Key: k, Data: object("a", 1)})
	if err != nil {
		t.Fatal(err)
	}
	a.comesBack(k, object("a", 1), a.write(k.Subject(), object("a", 666), nil))
	a.comesBack(k, object("a", 1), a.write(k.Subject(), object("a", 666), bus.Header{proto.HeaderOperation: {proto.OperationDelete}}))

	servers.StopLeader(proto.LogAccount, "STATE")
	live := two.View(k.GroupResource).Get(k.GroupResource, k.Namespace, k.Name)
	if live == nil || live.Revision() <= rev {
		t.Fatalf("the good version is %v", live)
	}
	// Nothing may be lost that was acknowledged, and writes go on with two servers. A write
	// without an answer may be repeated: its expectation holds once.
	for deadline := time.Now().Add(2 * time.Minute); ; {
		expect := live.Revision()
		if rev, err = two.Commit(t.Context(), statelog.Write{Key: k, Expect: expect, Data: object("a", 2)}); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no write with two of three servers: %v", err)
		}
		if now := two.View(k.GroupResource).Get(k.GroupResource, k.Namespace, k.Name); now != nil {
			live = now
		}
	}
	third := open(3) // reads all of it anew
	if _, err := third.Barrier(t.Context(), k.GroupResource); err != nil {
		t.Fatal(err)
	}
	if e := third.View(k.GroupResource).Get(k.GroupResource, k.Namespace, k.Name); e == nil || e.Revision() < rev {
		t.Errorf("after a restart there is %v, written was %d", e, rev)
	}
	if got := third.Views().Integrity(); got.Lost != 0 || got.Replaced != 0 {
		t.Errorf("got %+v", got)
	}
	a.two = third
	a.comesBack(k, object("a", 2), a.write(k.Subject(), object("a", 667), nil))
}
