// Package bustest gives tests a bus of their own: an embedded server in the
// test's directory, gone when the test ends.
//
// Start is for most tests; Server when connections are to be opened, closed or
// the server restarted by the test.
package bustest

import (
	"testing"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/store"
)

// Start gives a connection to a new server on which all of proto.Streams exist.
func Start(t testing.TB) *bus.Conn {
	t.Helper()
	c := Connect(t, Server(t))
	for _, s := range proto.Streams() {
		if _, err := c.EnsureStream(t.Context(), s, 1); err != nil {
			t.Fatalf("bustest: %v", err)
		}
	}
	return c
}

// Server starts a server without streams.
func Server(t testing.TB) *store.Server {
	t.Helper()
	return ServerIn(t, t.TempDir())
}

// ServerIn starts a server over dir, which an earlier one that was shut down may have left.
func ServerIn(t testing.TB, dir string) *store.Server {
	t.Helper()
	s, err := store.Start(t.Context(), store.Options{Dir: dir, Name: "test", Logger: zap.NewNop()})
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// Connect opens one more connection to a server.
func Connect(t testing.TB, s *store.Server) *bus.Conn {
	t.Helper()
	c, err := bus.Connect(t.Context(), bus.Options{InProcess: s, Name: "test", Logger: zap.NewNop()})
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	t.Cleanup(func() { _ = c.Drain() })
	return c
}
