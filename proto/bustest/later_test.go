package bustest

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"kubus.dev/proto/bus"
)

func TestWhoNeedNotWaitIsConnectedWhenTheServerComes(t *testing.T) {
	place, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := place.Addr().(*net.TCPAddr).Port
	url := "nats://" + place.Addr().String()
	if err := place.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := bus.Connect(t.Context(), bus.Options{URL: url, Name: "early", Later: true, ReconnectWait: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Drain() }()
	if err := conn.Publish("subject", nil); err == nil {
		t.Error("a message went to nobody")
	}
	heard, back := make(chan struct{}, 1), make(chan struct{}, 1)
	sub, err := conn.Subscribe("subject", "", func(*bus.Msg) { heard <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	conn.OnReconnect(func() { back <- struct{}{} })

	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Shutdown()
	select {
	case <-back:
	case <-time.After(20 * time.Second):
		t.Fatal("nobody told that the bus is there")
	}
	if err := conn.Publish("subject", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-heard:
	case <-time.After(20 * time.Second):
		t.Fatal("what was subscribed to before is not heard")
	}
}
