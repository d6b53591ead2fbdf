package tunneltest

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

// The peer's end may come before Dial has finished; the dialler's subscription to
// the gateways' hello then stayed for ever, with a goroutine.
func TestTunnelsLeaveNothingBehindHoweverSoonTheyEnd(t *testing.T) {
	for name, end := range map[string]error{"in order": nil, "with a refusal": errors.New("the container is waiting to start")} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, func(context.Context, *message.TunnelOpen, *tunnel.Tunnel) error { return end })
			dial(t, c).Close(nil)
			before := runtime.NumGoroutine()
			for range 100 {
				tun, err := tunnel.GatewayWith(kubus.NodeUser("a")).Dial(t.Context(), c, "node.a.tunnel", &message.TunnelOpen{Kind: "exec"})
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.ReadAll(tun.Channel(1)) // until the end
				tun.Close(nil)
			}
			deadline := time.Now().Add(10 * time.Second)
			for runtime.NumGoroutine() > before+10 {
				if time.Now().After(deadline) {
					t.Fatalf("%d goroutines, before 100 tunnels there were %d", runtime.NumGoroutine(), before)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}
