package tunneltest

import (
	"context"
	"errors"
	"testing"
	"time"

	"kubus.dev/proto"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

func TestTheHelloOfAGatewayEndsTheTunnelsToOneThatDied(t *testing.T) {
	server := bustest.Server(t)
	dies, user, next := bustest.Connect(t, server), bustest.Connect(t, server), bustest.Connect(t, server)
	sub, err := tunnel.GatewayWith("x").Serve(t.Context(), dies, "api.x.tunnel", "", func(ctx context.Context, _ *message.TunnelOpen, _ *tunnel.Tunnel) error {
		<-ctx.Done()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	if err := dies.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	tun, err := tunnel.PeerAs("x").Dial(t.Context(), user, "api.x.tunnel", &message.TunnelOpen{})
	if err != nil {
		t.Fatal(err)
	}
	if err := user.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	hello := func() {
		if err := next.Publish(proto.GatewayHelloSubject, nil); err != nil {
			t.Fatal(err)
		}
	}
	hello()
	select {
	case <-tun.Done():
		t.Fatalf("a hello ended a tunnel to a gateway that lives: %v", tun.Err())
	case <-time.After(100 * time.Millisecond):
	}
	_ = dies.Drain()                                             // its connection goes, as that of a killed process
	for deadline := time.Now().Add(5 * time.Second); ; hello() { // until the server has seen the connection go
		select {
		case <-tun.Done():
			if !errors.Is(tun.Err(), tunnel.ErrBroken) {
				t.Errorf("got %v, want that it is broken", tun.Err())
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("the tunnel did not end")
		}
	}
}
