package feedtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

// api tells who asks, and lists something large.
type api struct{}

func (api) ServeAs(user string, w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/large" {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 12<<20))
		return
	}
	body, _ := io.ReadAll(r.Body)
	_, _ = io.WriteString(w, user+" "+string(body))
}

func (api) BulkAs(context.Context, string, *message.BulkRequest) (*message.BulkResponse, error) {
	return nil, errors.New("no bulk here")
}

func (api) AcquireFenceAs(_ context.Context, user string, r *message.AcquireFence) (*message.FenceState, error) {
	return &message.FenceState{Name: r.Name, Holder: user, Epoch: 7}, nil
}

func TestTheAPICrossesAccounts(t *testing.T) {
	a := bustest.WithAccounts(t, "n")
	node := apiclient.New(apiclient.OverBus(a.Connect(proto.AgentName("n"))), proto.NodeUser("n"))
	if _, err := node.Do(t.Context(), apiclient.Request{Method: "POST", Path: "/x"}); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("without a gateway: %v, want that it is said at once", err)
	}
	server := a.Connect("gateway")
	sub, err := apiclient.Serve(t.Context(), server, api{})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	if err := server.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("y"), 3<<20)
	got, err := node.Do(t.Context(), apiclient.Request{Method: "POST", Path: "/x", Body: body})
	if err != nil || string(got) != "system:node:n "+string(body) {
		t.Errorf("a request: %d bytes, %v", len(got), err)
	}
	if got, err := node.Do(t.Context(), apiclient.Request{Path: "/large"}); err != nil || len(got) != 12<<20 {
		t.Errorf("a stream: %d bytes, %v", len(got), err)
	}
	controllers := apiclient.New(apiclient.OverBus(a.Connect("controllers-nodes")), proto.ControllerUser("node-controller"))
	if fence, err := controllers.AcquireFence(t.Context(), "controllers-nodes", "me", 0); err != nil || fence.Holder != proto.ControllerUser("node-controller") || fence.Epoch != 7 {
		t.Errorf("a fence: %v, %v", fence, err)
	}
}

func TestAGatewaysTunnelToANodeCrossesAccounts(t *testing.T) {
	a := bustest.WithAccounts(t, "n")
	agent, server := a.Connect(proto.AgentName("n")), a.Connect("gateway")
	side := tunnel.GatewayWith(proto.NodeUser("n"))
	if _, err := side.Dial(t.Context(), server, proto.NodeTunnelSubject("n"), &message.TunnelOpen{}); !errors.Is(err, bus.ErrNoResponders) {
		t.Errorf("without an agent: %v", err)
	}
	sub, err := tunnel.PeerAs(proto.NodeUser("n")).Serve(t.Context(), agent, proto.NodeTunnelSubject("n"), "", func(_ context.Context, _ *message.TunnelOpen, tun *tunnel.Tunnel) error {
		_, err := io.Copy(tun.Channel(1), tun.Channel(0))
		return errors.Join(err, tun.Channel(1).Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	if err := agent.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	tun, err := side.Dial(t.Context(), server, proto.NodeTunnelSubject("n"), &message.TunnelOpen{})
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("z"), 3<<20)
	go func() {
		_, _ = tun.Channel(0).Write(data)
		_ = tun.Channel(0).Close()
	}()
	if back, err := io.ReadAll(tun.Channel(1)); err != nil || !bytes.Equal(back, data) {
		t.Errorf("%d bytes came back, %v", len(back), err)
	}
	tun.Close(nil)
	// A tunnel whose other end goes ends by the next look at it.
	tun, err = side.Dial(t.Context(), server, proto.NodeTunnelSubject("n"), &message.TunnelOpen{})
	if err != nil {
		t.Fatal(err)
	}
	_ = agent.Drain()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if err := server.Publish(proto.GatewayHelloSubject, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-tun.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("the tunnel goes on")
		}
	}
}

func TestWhatANodeSaysReachesThoseWhoListenAndNobodyElse(t *testing.T) {
	a := bustest.WithAccounts(t, "n")
	agent := a.Connect(proto.AgentName("n"))
	heard := make(chan string, 10)
	for _, client := range []string{"gateway", "controllers-nodes", "status"} {
		conn := a.Connect(client)
		if _, err := conn.Subscribe(proto.HeartbeatSubjects, "", func(m *bus.Msg) { heard <- client + " " + m.Subject }); err != nil {
			t.Fatal(err)
		}
		if err := conn.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := agent.Publish(proto.HeartbeatSubject("n"), nil); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for range 3 {
		select {
		case who := <-heard:
			got[who] = true
		case <-time.After(20 * time.Second):
			t.Fatalf("only %v heard the heartbeat", got)
		}
	}
	status := a.Connect("status")
	if err := status.KeepStream(t.Context(), proto.ReportsStream, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.PublishStream(t.Context(), proto.PodReportSubject("n", "a", "b"), []byte("r"), bus.Header{bus.HeaderTTL: {"1h"}}); err != nil {
		t.Errorf("a report is not acknowledged: %v", err)
	}
	if _, err := agent.PublishStream(t.Context(), proto.PodReportSubject("n", "a", "c"), make([]byte, proto.ReportsStream.MaxMessageBytes+1), nil); err == nil {
		t.Error("a report above the limit was taken")
	}
	reports := make(chan string, 10)
	go func() {
		_ = status.Consume(t.Context(), proto.ReportsStream.Name, nil, 0, func(m *bus.StreamMsg) { reports <- m.Subject })
	}()
	if got := <-reports; got != proto.PodReportSubject("n", "a", "b") {
		t.Errorf("got a report on %s", got)
	}
}

func TestChangesReachAutomationInItsAccount(t *testing.T) {
	a := bustest.WithAccounts(t, "n")
	events, automation := a.Connect("events"), a.Connect("automation")
	if err := events.KeepStream(t.Context(), proto.ChangesStream, 1); err != nil {
		t.Fatal(err)
	}
	live := make(chan string, 10)
	if _, err := automation.Subscribe("events.>", "", func(m *bus.Msg) { live <- string(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := automation.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seq, err := events.PublishStream(t.Context(), "events.kubus.core.pods.a.b.added", []byte("e"), bus.Header{"ce-id": {"1"}}); err != nil || seq != 1 {
		t.Fatalf("got %d, %v", seq, err)
	}
	if got := <-live; got != "e" {
		t.Errorf("heard %q", got)
	}
	stored := make(chan *bus.StreamMsg, 10)
	go func() {
		_ = automation.Consume(t.Context(), proto.ChangesStream.Name, nil, 1, func(m *bus.StreamMsg) { stored <- m })
	}()
	if m := <-stored; string(m.Data) != "e" || m.Header.Get("ce-id") != "1" {
		t.Errorf("the stream has %q, %v", m.Data, m.Header)
	}
	if m, err := events.LastOn(t.Context(), proto.ChangesStream.Name, "events.>"); err != nil || m == nil || m.Seq != 1 {
		t.Errorf("the last one is %+v, %v", m, err)
	}
}
