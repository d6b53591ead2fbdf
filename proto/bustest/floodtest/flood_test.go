// Package floodtest has a node send without end all that it may send, on a server with
// everybody's accounts, and looks at what others have of it.
package floodtest

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/bustest/apitest"
)

// front is a gateway that never comes to an end with what one user asks.
type front struct {
	*apitest.API
	slow  string
	begun atomic.Int32
}

func (f *front) ServeAs(user string, w http.ResponseWriter, r *http.Request) {
	if user == f.slow {
		f.begun.Add(1)
		<-r.Context().Done()
		return
	}
	f.API.ServeAs(user, w, r)
}

// While a node reports, beats and asks without end, another's reports are read, its
// heartbeats heard, its requests answered, and nobody's connection is lost.
func TestANodeThatFloodsHarmsNoOther(t *testing.T) {
	a := bustest.WithAccounts(t, "bad", "good")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	gateway, status, bad, good := a.Connect("gateway"), a.Connect("status"), a.Connect(proto.AgentName("bad")), a.Connect(proto.AgentName("good"))
	var lost atomic.Int32
	for _, c := range []*bus.Conn{gateway, status, good} {
		c.OnReconnect(func() { lost.Add(1) })
	}
	if _, err := status.EnsureStream(ctx, proto.ReportsStream, 1); err != nil {
		t.Fatal(err)
	}
	f := &front{API: apitest.New(), slow: proto.NodeUser("bad")}
	f.Put("/api/v1/nodes/good", map[string]any{})
	serving, err := apiclient.Serve(ctx, gateway, f)
	if err != nil {
		t.Fatal(err)
	}
	defer serving.Stop()
	read, heard := make(chan string, 1), make(chan struct{}, 1)
	consumed := make(chan error, 1)
	own := proto.NodeReportSubject("good")
	var flooded atomic.Int64
	go func() {
		consumed <- status.Consume(ctx, proto.ReportsStream.Name, nil, 0, func(m *bus.StreamMsg) {
			if m.Subject == own {
				read <- string(m.Data)
			} else {
				flooded.Add(1)
			}
		})
	}()
	beats, err := status.Subscribe(proto.HeartbeatSubjects, "", func(m *bus.Msg) {
		if m.Subject == proto.HeartbeatSubject("good") {
			select {
			case heard <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer beats.Stop()
	if err := status.Flush(ctx); err != nil {
		t.Fatal(err)
	}

	flood, enough := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		small, large := []byte("x"), make([]byte, 256<<10)
		for n := 0; flood.Err() == nil; n++ {
			data := small
			if n%64 == 0 {
				data = large
			}
			_ = bad.Publish(proto.PodReportSubject("bad", "a", "p"+strconv.Itoa(n)), data)
			_ = bad.Publish(proto.HeartbeatSubject("bad"), data)
			_ = bad.Probe(proto.APIRequestSubject(proto.NodeUser("bad")), bad.NewInbox(), data)
		}
	}()
	api := apiclient.New(apiclient.OverBus(good), proto.NodeUser("good"))
	for n := 0; n < 200 || flooded.Load() < 20_000; n++ {
		want := strconv.Itoa(n)
		if _, err := good.PublishStream(ctx, own, []byte(want), nil); err != nil {
			t.Fatalf("report %d: %v", n, err)
		}
		for got := ""; got != want; {
			select {
			case got = <-read:
			case <-ctx.Done():
				t.Fatalf("report %d was not read", n)
			}
		}
		if err := good.Publish(proto.HeartbeatSubject("good"), nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-heard:
		case <-ctx.Done():
			t.Fatalf("heartbeat %d was not heard", n)
		}
		if _, err := api.Do(ctx, apiclient.Request{Path: "/api/v1/nodes/good"}); err != nil {
			t.Fatalf("request %d: %v", n, err)
		}
	}
	enough()
	<-stopped
	if n := lost.Load(); n != 0 {
		t.Errorf("%d connections of others were lost", n)
	}
	state, err := status.StreamState(ctx, proto.ReportsStream.Name)
	if err != nil || state.Messages > uint64(proto.ReportsStream.MaxMessages) || state.Bytes > uint64(proto.ReportsStream.MaxBytes) {
		t.Errorf("the reports: %+v, %v", state, err)
	}
	cancel()
	<-consumed
	serving.Wait()
}
