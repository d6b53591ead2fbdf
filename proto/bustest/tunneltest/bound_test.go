package tunneltest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

// peer is the other end of a tunnel that keeps to no rule.
type peer struct {
	t     *testing.T
	conn  *bus.Conn
	inbox string
	seq   uint64
}

// open opens a tunnel to the side, whose tunnel goes to tunnels.
func open(t *testing.T, side tunnel.Side, handler tunnel.Handler) *peer {
	t.Helper()
	srv := bustest.Server(t)
	gateway, node := bustest.Connect(t, srv), bustest.Connect(t, srv)
	if _, err := side.Serve(t.Context(), gateway, "api.n.tunnel", "", handler); err != nil {
		t.Fatal(err)
	}
	if err := gateway.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, conn: node}
	if refused := p.open(); refused != "" {
		t.Fatal(refused)
	}
	return p
}

func (p *peer) open() (refused string) {
	p.t.Helper()
	answer, err := p.conn.Request(p.t.Context(), "api.n.tunnel", marshal(p.t, &message.TunnelOpen{Inbox: p.conn.NewInboxBelow(kubus.PeerInbox("n"))}))
	if err != nil {
		p.t.Fatal(err)
	}
	var welcome message.TunnelFrame
	if err := proto.Unmarshal(answer, &welcome); err != nil {
		p.t.Fatal(err)
	}
	p.inbox, p.seq = welcome.Inbox, 0
	return welcome.Error
}

func (p *peer) send(f *message.TunnelFrame) {
	p.t.Helper()
	p.seq++
	f.Sequence = p.seq
	if err := p.conn.Publish(p.inbox, marshal(p.t, f)); err != nil {
		p.t.Fatal(err)
	}
}

func TestAPeerThatKeepsToNoBoundEndsItsTunnel(t *testing.T) {
	full := func(p *peer) {
		for range tunnel.Window / (32 << 10) {
			p.send(&message.TunnelFrame{Channel: 2, Data: make([]byte, 32<<10)})
		}
	}
	for name, c := range map[string]struct {
		side tunnel.Side
		send func(p *peer)
		want string // not any end will do: a peer that is silent ends its tunnel as well
	}{
		"it sends more than a window that nobody read": {tunnel.GatewayWith("n"), func(p *peer) {
			full(p)
			p.send(&message.TunnelFrame{Channel: 2, Data: []byte("x")})
		}, "bytes are unread on channel 2"},
		"it sends one frame of several windows": {tunnel.GatewayWith("n"), func(p *peer) {
			p.send(&message.TunnelFrame{Channel: 0, Data: make([]byte, 1<<20)})
		}, "bytes are unread on channel 0"},
		"it sends on a channel that there is not": {tunnel.GatewayWith("n"), func(p *peer) {
			p.send(&message.TunnelFrame{Channel: tunnel.Channels, Data: []byte("x")})
		}, "a frame is for channel"},
		"it closes a channel that there is not": {tunnel.GatewayWith("n"), func(p *peer) {
			p.send(&message.TunnelFrame{Channel: 4_000_000, CloseChannel: true})
		}, "a frame is for channel 4000000"},
		"it sends where only we do": {tunnel.GatewayWith("n").SendOnly(), func(p *peer) {
			p.send(&message.TunnelFrame{Channel: 1, Data: []byte("x")})
		}, "nothing is awaited on channel 1"},
		"it sends after its close": {tunnel.GatewayWith("n"), func(p *peer) {
			p.send(&message.TunnelFrame{Channel: 1, CloseChannel: true})
			p.send(&message.TunnelFrame{Channel: 1, Data: []byte("x")})
		}, "nothing is awaited on channel 1"},
		"it has read what nobody sent": {tunnel.GatewayWith("n"), func(p *peer) {
			p.send(&message.TunnelFrame{Channel: 1, Credit: 1})
		}, "of 0 bytes on channel 1, 1 were read"},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			p := open(t, c.side, func(_ context.Context, _ *message.TunnelOpen, tun *tunnel.Tunnel) error {
				<-tun.Done()
				ended <- tun.Err()
				return nil
			})
			c.send(p)
			select {
			case err := <-ended:
				if !errors.Is(err, tunnel.ErrBroken) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the tunnel goes on")
			}
		})
	}
	t.Run("a full window is no breach", func(t *testing.T) {
		read := make(chan int, 1)
		p := open(t, tunnel.GatewayWith("n"), func(_ context.Context, _ *message.TunnelOpen, tun *tunnel.Tunnel) error {
			n, buf := 0, make([]byte, 32<<10)
			for n < tunnel.Window {
				m, err := tun.Channel(2).Read(buf)
				if err != nil {
					break
				}
				n += m
			}
			read <- n
			return nil
		})
		full(p)
		if n := <-read; n != tunnel.Window {
			t.Errorf("read %d bytes", n)
		}
	})
}

func TestAPeerHasNoMoreTunnelsThanItsQuota(t *testing.T) {
	end := make(chan struct{})
	p := open(t, tunnel.GatewayWith("n").Within(tunnel.NewQuota(2)), func(ctx context.Context, _ *message.TunnelOpen, _ *tunnel.Tunnel) error {
		select {
		case <-end:
		case <-ctx.Done():
		}
		return nil
	})
	if refused := p.open(); refused != "" {
		t.Fatalf("the second tunnel: %s", refused)
	}
	if refused := p.open(); refused == "" {
		t.Fatal("a third tunnel was opened")
	}
	end <- struct{}{}
	for deadline := time.Now().Add(20 * time.Second); p.open() != ""; {
		if time.Now().After(deadline) {
			t.Fatal("the place of a tunnel that ended stays taken")
		}
		time.Sleep(time.Millisecond)
	}
}
