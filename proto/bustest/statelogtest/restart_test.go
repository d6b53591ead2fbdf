package statelogtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/store"
)

func TestStreamsInMemoryAreMadeAgainAfterTheServerStartedAnew(t *testing.T) {
	seed, public, err := store.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "operator.nk")
	if err := os.WriteFile(key, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	o := store.Options{Dir: t.TempDir(), Name: "test", Listen: "127.0.0.1:0", Users: []store.User{{PublicKey: public, Role: store.OperatorRole}}}
	server, err := store.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	o.Listen = strings.TrimPrefix(server.ClientURL(), "nats://")
	log := zaptest.NewLogger(t)
	conn, err := bus.Connect(t.Context(), bus.Options{URL: server.ClientURL(), Name: "operator", NkeySeedFile: key, Logger: log, ReconnectWait: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Drain() })
	if err := conn.KeepStream(t.Context(), proto.ReportsStream, 1); err != nil {
		t.Fatal(err)
	}
	server.Shutdown()
	if server, err = store.Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := conn.StreamState(t.Context(), proto.ReportsStream.Name)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
