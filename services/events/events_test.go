package events

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/kit/kittest"
)

func TestTheExampleConfigurationShowsTheDefaults(t *testing.T) {
	t.Parallel()
	kittest.Example(t, Default())
}

// state writes object versions as a gateway does.
type state struct {
	t     *testing.T
	conn  *bus.Conn
	last  map[string]uint64
	lives map[string]bool
}

func (s *state) put(key proto.Key, data string, deleted bool) {
	s.t.Helper()
	h := bus.Header{bus.HeaderExpectLastSubjectSeq: {fmt.Sprint(s.last[key.Subject()])}}
	if deleted {
		h[proto.HeaderOperation] = []string{proto.OperationDelete}
	} else if !s.lives[key.Subject()] {
		h[proto.HeaderOperation] = []string{proto.OperationCreate}
	}
	s.lives[key.Subject()] = !deleted
	seq, err := s.conn.PublishStream(s.t.Context(), key.Subject(), []byte(data), h)
	if err != nil {
		s.t.Fatal(err)
	}
	s.last[key.Subject()] = seq
}

// start runs the service; the function it returns stops it and waits.
func start(t *testing.T, conn *bus.Conn) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, Default(), zap.NewNop(), &cluster.Client{Bus: conn, Log: statelog.OpenViews(ctx, conn, zap.NewNop()).Source()}, func() {})
	}()
	return func() {
		cancel()
		<-done
	}
}

func collect(t *testing.T, conn *bus.Conn) <-chan *bus.StreamMsg {
	ch := make(chan *bus.StreamMsg, 1000)
	go func() {
		_ = conn.Consume(t.Context(), proto.ChangesStream.Name, nil, 1, func(m *bus.StreamMsg) { ch <- m })
	}()
	return ch
}

func next(t *testing.T, ch <-chan *bus.StreamMsg) *bus.StreamMsg {
	t.Helper()
	select {
	case m := <-ch:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("no change was announced")
		return nil
	}
}

func TestChangesAreAnnouncedInOrderWithTheirVerbs(t *testing.T) {
	conn := bustest.Start(t)
	s := &state{t, conn, map[string]uint64{}, map[string]bool{}}
	stop := start(t, conn)
	defer stop()
	got := collect(t, conn)
	key := proto.Key{GroupResource: proto.GroupResource{Group: "apps", Resource: "deployments"}, Namespace: "default", Name: "web"}
	object := `{"kind":"Deployment","metadata":{"name":"web","namespace":"default"}}`
	for _, verb := range []string{"added", "modified", "deleted", "added", "modified"} {
		s.put(key, object, verb == "deleted")
		m := next(t, got) // one after another: the log keeps only the newest
		if want := "events.kubus.apps.deployments.default.web." + verb; m.Subject != want {
			t.Errorf("subject %s, want %s", m.Subject, want)
		}
		if id, want := m.Header["ce-id"][0], "STATE-"+m.Header["Kubus-Revision"][0]; id != want {
			t.Errorf("ce-id %s, want %s", id, want)
		}
		if want := fmt.Sprintf(`"resourceVersion":"%s"`, m.Header["Kubus-Revision"][0]); !strings.Contains(string(m.Data), want) {
			t.Errorf("the data has no %s: %s", want, m.Data)
		}
	}
}

func TestARestartGoesOnWhereItStopped(t *testing.T) {
	conn := bustest.Start(t)
	s := &state{t, conn, map[string]uint64{}, map[string]bool{}}
	pod := func(i int) proto.Key {
		return proto.Key{GroupResource: proto.GroupResource{Resource: "pods"}, Namespace: "default", Name: fmt.Sprint("p", i)}
	}
	event := func(i int) proto.Key {
		return proto.Key{GroupResource: proto.Events, Namespace: "default", Name: fmt.Sprint("e", i)}
	}
	got := collect(t, conn)
	seen := map[string]int{}
	for round := range 3 {
		stop := start(t, conn)
		for i := range 20 {
			s.put(pod(round*20+i), `{"metadata":{"name":"p"}}`, false)
			s.put(event(round*20+i), `{"metadata":{"name":"e"}}`, false)
		}
		for range 40 {
			seen[next(t, got).Subject]++
		}
		stop()
	}
	// While nobody announces, a change is made twice: the newest is told.
	s.put(pod(0), `{"metadata":{"name":"p"}}`, false)
	s.put(pod(0), `{"metadata":{"name":"p"}}`, false)
	stop := start(t, conn)
	defer stop()
	if m := next(t, got); m.Subject != "events.kubus.core.pods.default.p0.modified" {
		t.Errorf("after the last restart came %s", m.Subject)
	}
	for subject, n := range seen {
		if n != 1 {
			t.Errorf("%s was announced %d times", subject, n)
		}
	}
	if len(seen) != 120 {
		t.Errorf("%d changes were announced, want 120", len(seen))
	}
}

func TestWhatIsMadeAgainAfterARestartIsAnnouncedAsAdded(t *testing.T) {
	conn := bustest.Start(t)
	s := &state{t, conn, map[string]uint64{}, map[string]bool{}}
	got := collect(t, conn)
	key := proto.Key{GroupResource: proto.GroupResource{Resource: "configmaps"}, Namespace: "default", Name: "c"}
	stop := start(t, conn)
	s.put(key, `{"metadata":{"uid":"1"}}`, false)
	next(t, got)
	s.put(key, `{"metadata":{"uid":"1"}}`, true)
	next(t, got)
	stop()
	stop = start(t, conn)
	defer stop()
	s.put(key, `{"metadata":{"uid":"2"}}`, false)
	if m := next(t, got); m.Subject != "events.kubus.core.configmaps.default.c.added" {
		t.Errorf("a name that is used again came as %s", m.Subject)
	}
}

func TestASecretComesWithoutItsContent(t *testing.T) {
	conn := bustest.Start(t)
	s := &state{t, conn, map[string]uint64{}, map[string]bool{}}
	stop := start(t, conn)
	defer stop()
	got := collect(t, conn)
	s.put(proto.Key{GroupResource: proto.GroupResource{Resource: "secrets"}, Namespace: "default", Name: "s"},
		`{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"type":"Opaque","data":{"k":"dg=="},"sealed":"abc"}`, false)
	var m map[string]any
	if err := json.Unmarshal(next(t, got).Data, &m); err != nil {
		t.Fatal(err)
	}
	if m["data"] != nil || m["sealed"] != nil || m["type"] != "Opaque" || m["metadata"] == nil {
		t.Errorf("got %v", m)
	}
}
