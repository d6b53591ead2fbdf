package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/kit"
)

func TestAWriteUnderWayWhenTheGatewayStopsIsAnswered(t *testing.T) {
	conn := bustest.Start(t)
	views := statelog.OpenViews(t.Context(), conn, zap.NewNop())
	cfg, client := certificates(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g, err := New(ctx, cfg, &kit.Process{Logger: zap.NewNop(), Metrics: prometheus.NewRegistry(), Health: kit.NewHealth()}, conn, views)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx) }()

	// A create whose body has only begun: the gateway has it in hand.
	c, err := tls.Dial("tcp", cfg.API.Listen, &tls.Config{
		RootCAs: client.Transport.(*http.Transport).TLSClientConfig.RootCAs, Certificates: client.Transport.(*http.Transport).TLSClientConfig.Certificates,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	body := `{"metadata":{"name":"late"}}`
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", configMaps, len(body)); err != nil {
		t.Fatal(err)
	}
	answer := bufio.NewReader(c)
	if line, err := answer.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("got %q, %v", line, err) // the handler reads the body
	}
	if _, err := answer.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		other, err := net.Dial("tcp", cfg.API.Listen)
		if err != nil {
			break // it takes no more connections
		}
		other.Close()
		if time.Now().After(end) {
			t.Fatal("the gateway does not stop")
		}
	}
	if _, err := io.WriteString(c, body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(answer, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusCreated {
		t.Errorf("got %d %s", resp.StatusCode, text)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
