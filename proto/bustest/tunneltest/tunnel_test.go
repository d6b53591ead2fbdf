// Package tunneltest holds the specification of proto/tunnel and of the API over
// the bus as tests against a real server.
package tunneltest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
	"time"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

func serve(t *testing.T, h tunnel.Handler) *bus.Conn {
	t.Helper()
	srv := bustest.Server(t)
	if _, err := tunnel.PeerAs(kubus.NodeUser("a")).Serve(t.Context(), bustest.Connect(t, srv), "node.a.tunnel", "", h); err != nil {
		t.Fatal(err)
	}
	return bustest.Connect(t, srv)
}

func dial(t *testing.T, c *bus.Conn) *tunnel.Tunnel {
	t.Helper()
	var tun *tunnel.Tunnel
	var err error
	for range 100 {
		tun, err = tunnel.GatewayWith(kubus.NodeUser("a")).Dial(t.Context(), c, "node.a.tunnel", &message.TunnelOpen{Kind: "exec", Request: []byte("hello")})
		if !errors.Is(err, bus.ErrNoResponders) {
			break
		}
		time.Sleep(time.Millisecond) // the subscription is on its way
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tun.Close(nil) })
	return tun
}

func TestManyMegabytesPassBothWaysUnharmed(t *testing.T) {
	c := serve(t, func(_ context.Context, _ *message.TunnelOpen, tun *tunnel.Tunnel) error {
		ch := tun.Channel(1)
		if _, err := io.Copy(ch, ch); err != nil {
			return err
		}
		return ch.Close()
	})
	tun := dial(t, c)
	data := make([]byte, 20<<20)
	_, _ = rand.Read(data)
	ch := tun.Channel(1)
	go func() {
		_, _ = io.Copy(ch, bytes.NewReader(data))
		_ = ch.Close()
	}()
	back, err := io.ReadAll(ch)
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(back) != sha256.Sum256(data) {
		t.Fatalf("got %d bytes back, not the %d that were sent", len(back), len(data))
	}
}

func TestSlowReaderHoldsTheWriterBack(t *testing.T) {
	wrote := make(chan int, 1)
	c := serve(t, func(_ context.Context, _ *message.TunnelOpen, tun *tunnel.Tunnel) error {
		n := 0
		for {
			m, err := tun.Channel(1).Write(make([]byte, 16<<10))
			n += m
			if err != nil {
				wrote <- n
				return nil
			}
		}
	})
	tun := dial(t, c)
	if _, err := io.ReadFull(tun.Channel(1), make([]byte, 16<<10)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	tun.Close(nil)
	if n := <-wrote; n > tunnel.Window+64<<10 {
		t.Errorf("the writer sent %d bytes that nobody read", n)
	}
}

func TestHandlersErrorReachesThePeer(t *testing.T) {
	c := serve(t, func(_ context.Context, open *message.TunnelOpen, tun *tunnel.Tunnel) error {
		_, _ = tun.Channel(1).Write([]byte("some"))
		return errors.New("container not found (\"" + string(open.Request) + "\")")
	})
	tun := dial(t, c)
	got, err := io.ReadAll(tun.Channel(1))
	var e *tunnel.Error
	if string(got) != "some" || !errors.As(err, &e) || e.Text != `container not found ("hello")` {
		t.Errorf("got %q and %v", got, err)
	}
}

func TestHandlersContextEndsWithTheTunnel(t *testing.T) {
	ended := make(chan error, 1)
	c := serve(t, func(ctx context.Context, _ *message.TunnelOpen, _ *tunnel.Tunnel) error {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil
	})
	dial(t, c).Close(nil)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the handler goes on")
	}
}

func TestNobodyThereIsSaidAtOnce(t *testing.T) {
	c := bustest.Start(t)
	_, err := tunnel.GatewayWith(kubus.NodeUser("a")).Dial(t.Context(), c, "node.gone.tunnel", &message.TunnelOpen{})
	if !errors.Is(err, bus.ErrNoResponders) {
		t.Errorf("got %v", err)
	}
}
