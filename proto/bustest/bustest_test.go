package bustest

import (
	"bytes"
	"testing"

	"kubus.dev/proto"
)

func TestAMessageSurvivesARestartOfTheServer(t *testing.T) {
	dir := t.TempDir()
	s := ServerIn(t, dir)
	c := Connect(t, s)
	if _, err := c.EnsureStream(t.Context(), proto.StateStream, 1); err != nil {
		t.Fatal(err)
	}
	subject := proto.Key{GroupResource: proto.GroupResource{Resource: "configmaps"}, Namespace: "default", Name: "a"}.Subject()
	want := []byte(`{"kind":"ConfigMap"}`)
	seq, err := c.PublishStream(t.Context(), subject, want, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Drain()
	s.Shutdown()

	c = Connect(t, ServerIn(t, dir))
	got, err := c.LastOn(t.Context(), "STATE", subject)
	if err != nil || got == nil {
		t.Fatalf("got %v, %v", got, err)
	}
	if got.Seq != seq || !bytes.Equal(got.Data, want) {
		t.Errorf("got %d %q, want %d %q", got.Seq, got.Data, seq, want)
	}
}

func TestStartMakesEveryStream(t *testing.T) {
	c := Start(t)
	for _, s := range proto.Streams() {
		if _, err := c.StreamState(t.Context(), s.Name); err != nil {
			t.Error(err)
		}
	}
}
