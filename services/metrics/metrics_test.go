package metrics

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	protobuf "google.golang.org/protobuf/proto"
	api "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/kit"
	"kubus.dev/services/kit/kittest"
	"kubus.dev/services/metrics/internal/sample"
)

func TestTheExampleConfigurationShowsTheDefaults(t *testing.T) { kittest.Example(t, Default()) }

func TestBadConfigurationIsToldAsAWhole(t *testing.T) {
	t.Parallel()
	cfg := Default()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	cfg.Period, cfg.ActivePeriod, cfg.Linger = kit.Duration(time.Millisecond), kit.Duration(2*time.Millisecond), -1
	want := "activePeriod: 2ms, at least 1s\nperiod: 1ms is shorter than activePeriod\nlinger: -1ns is negative"
	if err := cfg.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// A node answers when it is asked; whoever waits for samples is told, and finds them in the
// API.
func TestFromAnAgentsAnswerToTheAPI(t *testing.T) {
	conn := bustest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	log := zaptest.NewLogger(t)
	views := statelog.OpenViews(ctx, conn, log)
	if _, err := conn.PublishStream(ctx, proto.Key{GroupResource: proto.GroupResource{Resource: "nodes"}, Name: "n.1"}.Subject(), []byte(`{"metadata":{"name":"n.1"}}`), nil); err != nil {
		t.Fatal(err)
	}
	var used uint64
	began := time.Now()
	agent, err := conn.Subscribe(proto.UsageSampleSubject, "", func(*bus.Msg) {
		used += uint64(time.Second)
		data, err := protobuf.Marshal(&message.NodeUsage{TimeUnixNs: began.Add(time.Duration(2 * used)).UnixNano(), Node: &message.Usage{CpuNs: used, MemoryBytes: 1 << 20}})
		if err == nil {
			err = conn.Publish(proto.UsageSubject("n.1"), data)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Stop()
	fresh := make(chan struct{}, 16)
	told, err := conn.Subscribe(proto.UsageFreshSubject, "", func(*bus.Msg) { fresh <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer told.Stop()
	cfg := Default()
	cfg.ActivePeriod = kit.Duration(time.Second)
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, cfg, &kit.Process{Logger: log, Health: kit.NewHealth()}, &cluster.Client{Bus: conn, Views: views})
	}()
	read := func() (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, "GET", "http://x/apis/metrics.k8s.io/v1beta1/nodes/n.1", nil)
		if err != nil {
			t.Fatal(err)
		}
		return apiclient.Ask(conn, proto.MetricsRequestSubject, r)
	}
	<-fresh // one reading gives no rate yet; to read makes the next come soon
	if resp, err := read(); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Fatalf("after one reading: %v, %v", resp, err)
	}
	<-fresh
	resp, err := read()
	if err != nil {
		t.Fatal(err)
	}
	var got api.NodeMetrics
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Usage.Cpu().String() != "500m" || got.Usage.Memory().String() != "1Mi" || got.Window.Duration != 2*time.Second {
		t.Errorf("got %+v, %v", got, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := views.Wait(); err != nil {
		t.Error(err)
	}
}

// A node's word is read up to a size, and what is beyond is as if it had said nothing.
func TestAMessageThatIsTooLargeIsNotRead(t *testing.T) {
	t.Parallel()
	s := &service{log: zaptest.NewLogger(t), samples: sample.New(), complete: make(chan struct{}, 1)}
	for node, pad := range map[string]int{"fits": mostBytes - 1024, "not": mostBytes} {
		for i := range 2 {
			data, err := protobuf.Marshal(&message.NodeUsage{TimeUnixNs: time.Unix(int64(i), 0).UnixNano() + 1, Node: &message.Usage{CpuNs: uint64(i)}, Pods: []*message.PodUsage{{Uid: strings.Repeat("x", pad)}}})
			if err != nil {
				t.Fatal(err)
			}
			s.samples.Begin()
			s.take(&bus.Msg{Subject: proto.UsageSubject(node), Data: data})
		}
		if _, ok := s.samples.Node(node); ok != (node == "fits") {
			t.Errorf("of %s there is a rate: %v", node, ok)
		}
	}
}
