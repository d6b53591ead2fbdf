package gateway

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/kit"
)

// A log from before there were signatures is taken over once, and from then on what the
// bus alone was told counts for nothing.
func TestALogIsSignedOnceAndThenBelievedOnlySigned(t *testing.T) {
	server := bustest.Server(t)
	dir := t.TempDir()
	keys, adopt := filepath.Join(dir, "log.key"), filepath.Join(dir, "log.adopt")
	if err := os.WriteFile(keys, []byte(base64.StdEncoding.EncodeToString(make([]byte, statelog.KeySize))), 0o600); err != nil {
		t.Fatal(err)
	}
	signing := func(c *Config) { c.Signing = Signing{KeyFile: keys, AdoptFile: adopt} }
	const path = "/api/v1/namespaces/default/configmaps/old"
	t.Run("before", func(t *testing.T) {
		g := startOver(t, server)
		must[corev1.ConfigMap](t, g, "POST", "/api/v1/namespaces/default/configmaps", configMap("old"))
	})
	t.Run("not to be adopted", func(t *testing.T) {
		conn := bustest.Connect(t, server)
		cfg, _ := certificates(t, t.TempDir())
		signing(&cfg)
		trust, err := statelog.LoadTrust(keys, adopt)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := &kit.Process{Logger: zap.NewNop(), Metrics: prometheus.NewRegistry(), Health: kit.NewHealth()}
		if _, err := New(ctx, cfg, p, conn, statelog.OpenSignedViews(ctx, conn, trust, zap.NewNop())); err == nil || !strings.Contains(err.Error(), statelog.ErrNotOurs.Error()) {
			t.Errorf("got %v", err)
		}
	})
	if err := os.WriteFile(adopt, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"adopted", "afterwards"} {
		t.Run(when, func(t *testing.T) {
			g := startOver(t, server, signing)
			if _, err := os.Stat(adopt); err == nil {
				t.Error("the file that tells to adopt is still there")
			}
			old := must[corev1.ConfigMap](t, g, "GET", path, nil)
			key := proto.Key{GroupResource: proto.GroupResource{Resource: "configmaps"}, Namespace: "default", Name: "old"}
			if _, err := g.conn.PublishStream(t.Context(), key.Subject(), []byte(`{"metadata":{"name":"old","namespace":"default","uid":"666"}}`), nil); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(patience); ; {
				now := must[corev1.ConfigMap](t, g, "GET", path, nil)
				if now.UID != old.UID {
					t.Fatalf("the forged one is shown: %v", now)
				}
				if now.ResourceVersion != old.ResourceVersion {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the good version did not come back")
				}
			}
			must[corev1.ConfigMap](t, g, "PATCH", path, `{"data":{"when":"`+when+`"}}`, "application/merge-patch+json")
		})
	}
}
