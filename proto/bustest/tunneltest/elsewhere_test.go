package tunneltest

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

// forbidden is where a gateway may publish and its clients may not.
var forbidden = []string{
	kubus.Key{GroupResource: kubus.GroupResource{Resource: "secrets"}, Namespace: "a", Name: "n"}.Subject(),
	kubus.NodeTunnelSubject("other"), kubus.WatermarkSubject("STATE"), "$JS.API.STREAM.DELETE.STATE",
	kubus.GatewayInbox(kubus.NodeUser("other")) + ".x", kubus.PeerInbox(kubus.NodeUser("other")) + ".x", "_INBOX.gateway.x", "_R_.x.>",
}

// marshal encodes a message of the bus.
func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The server checks where a client publishes, not where it wants the answer: what a
// gateway answers to must be the client's to receive on.
func TestAGatewayAnswersNowhereElseThanInInboxes(t *testing.T) {
	srv := bustest.Server(t)
	server, client := bustest.Connect(t, srv), bustest.Connect(t, srv)
	sub, err := apiclient.Serve(t.Context(), server, gateway{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Stop)
	seen := make(chan string, 100)
	for _, subject := range forbidden {
		if _, err := client.Subscribe(subject, "", func(m *bus.Msg) { seen <- m.Subject }); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []*bus.Conn{server, client} {
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	request := marshal(t, &message.ApiRequest{Method: "GET", Path: "/"})
	own := client.NewInbox()
	for _, subject := range forbidden {
		open := marshal(t, &message.TunnelOpen{Kind: apiclient.TunnelKindHTTP, Request: request, Inbox: subject})
		for _, asked := range []struct {
			subject, reply string
			data           []byte
		}{
			{kubus.APIRequestSubject("alice"), subject, request},
			{kubus.APIBulkSubject("alice"), subject, nil},
			{kubus.APIFenceSubject("alice"), subject, nil},
			{kubus.APITunnelSubject("alice"), subject, open},
			{kubus.APITunnelSubject("alice"), own, open},
		} {
			if err := client.Probe(asked.subject, asked.reply, asked.data); err != nil {
				t.Fatal(err)
			}
		}
	}
	// One that is answered, after all the others.
	if _, err := client.Request(t.Context(), kubus.APIRequestSubject("alice"), request); err != nil {
		t.Fatal(err)
	}
	select {
	case subject := <-seen:
		t.Errorf("a gateway published on %s", subject)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestANodeCannotHaveItsTunnelsFramesSentElsewhere(t *testing.T) {
	srv := bustest.Server(t)
	node, server := bustest.Connect(t, srv), bustest.Connect(t, srv)
	for _, subject := range forbidden {
		sub, err := node.Subscribe("node.a.tunnel", "", func(m *bus.Msg) { _ = m.Respond(marshal(t, &message.TunnelFrame{Inbox: subject})) })
		if err != nil {
			t.Fatal(err)
		}
		if err := node.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := tunnel.GatewayWith(kubus.NodeUser("a")).Dial(t.Context(), server, "node.a.tunnel", &message.TunnelOpen{}); !errors.Is(err, tunnel.ErrBroken) {
			t.Errorf("%s: got %v", subject, err)
		}
		sub.Stop()
	}
}

func TestAGatewayReceivesFromANodeInThatNodesInbox(t *testing.T) {
	srv := bustest.Server(t)
	inbox := make(chan string, 1)
	node := bustest.Connect(t, srv)
	_, err := tunnel.PeerAs(kubus.NodeUser("a")).Serve(t.Context(), node, "node.a.tunnel", "", func(_ context.Context, open *message.TunnelOpen, _ *tunnel.Tunnel) error {
		inbox <- open.Inbox
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	tun, err := tunnel.GatewayWith(kubus.NodeUser("a")).Dial(t.Context(), bustest.Connect(t, srv), "node.a.tunnel", &message.TunnelOpen{})
	if err != nil {
		t.Fatal(err)
	}
	<-tun.Done()
	if got, want := <-inbox, kubus.GatewayInbox("system:node:a")+"."; len(got) <= len(want) || got[:len(want)] != want {
		t.Errorf("got %s, want one below %s", got, want)
	}
}
