package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
)

// A directory from before there were accounts has its streams in the server's global one.
func TestTheStreamsOfAnOlderDirectoryComeIntoTheirAccounts(t *testing.T) {
	creds, users := credentials(t)
	o := Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Users: users, Logger: zaptest.NewLogger(t)}
	run := func(use func(b *testBus)) {
		t.Helper()
		s, err := Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Shutdown()
		for _, c := range creds {
			c.c = dial(t, strings.TrimPrefix(s.ClientURL(), "nats://"), c.seed)
		}
		use(&testBus{t: t, creds: creds})
	}
	run(func(b *testBus) {
		b.streams()
		b.object("state.core.pods.a.b", "{}")
	})
	root := filepath.Join(o.Dir, "jetstream")
	global := filepath.Join(root, "$G", "streams")
	if err := os.MkdirAll(global, 0o750); err != nil {
		t.Fatal(err)
	}
	for account, stream := range map[string]string{proto.LogAccount: "STATE", "automation": "CHANGES"} {
		if err := os.Rename(filepath.Join(root, account, "streams", stream), filepath.Join(global, stream)); err != nil {
			t.Fatal(err)
		}
	}
	run(func(b *testBus) {
		if got := b.stored("state.core.pods.a.b"); !strings.Contains(got, `"data":"e30="`) {
			t.Errorf("the pod is %s", got)
		}
		if got := b.cred("automation").ask("$JS.API.STREAM.INFO.CHANGES", ""); !strings.Contains(got, `"config"`) {
			t.Errorf("CHANGES: %s", got)
		}
	})
}
