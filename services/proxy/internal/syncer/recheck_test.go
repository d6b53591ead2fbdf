package syncer_test

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"

	"go.uber.org/zap/zaptest"

	"kubus.dev/services/proxy/internal/iptables"
	"kubus.dev/services/proxy/internal/rule"
	"kubus.dev/services/proxy/internal/service"
	"kubus.dev/services/proxy/internal/syncer"
)

// paper is a kernel that takes everything.
type paper struct{}

func (paper) Read(context.Context, string) (map[rule.Table]iptables.State, error) {
	return map[rule.Table]iptables.State{}, nil
}

func (paper) Restore(context.Context, []byte) error { return nil }

// An address that came to the machine after the Service was written is the machine's from
// the next look on, and the Service's again when it left.
func TestFinding10AnAddressThatTheMachineGetsLaterIsTheMachines(t *testing.T) {
	var mine atomic.Bool
	addr, name := netip.MustParseAddr("203.0.113.9"), service.Name{Namespace: "a", Name: "evil"}
	results := make(chan syncer.Result, 16)
	s := syncer.New(syncer.Options{
		Node: node, Kernel: paper{}, Logger: zaptest.NewLogger(t), Rules: rule.Options{Prefix: "T"},
		Guard: func() *service.Guard {
			return &service.Guard{Own: func(a netip.Addr) bool { return mine.Load() && a == addr }}
		},
		Observe: func(r syncer.Result) { results <- r },
	})
	s.SetService(name, &service.Service{Name: name, ClusterIP: netip.MustParseAddr("10.96.0.9"), ExternalIPs: []netip.Addr{addr}, Ports: []service.ServicePort{{Protocol: "tcp", Port: 80}}})
	s.SetSlice(name, &service.Slice{Service: name, Ports: []service.SlicePort{{Protocol: "tcp", Number: 80}}, Endpoints: []service.Endpoint{{Addr: netip.MustParseAddr("10.244.0.7"), Ready: true, Serving: true}}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	if first := <-results; first.Refused != 0 || first.Bytes == 0 {
		t.Fatalf("at first: %+v", first)
	}
	<-results // SetService woke it before Run was called
	for _, step := range []struct {
		mine    bool
		refused int
		writes  bool
	}{{false, 0, false}, {true, 1, true}, {true, 1, false}, {false, 0, true}} {
		mine.Store(step.mine)
		s.Recheck()
		if r := <-results; r.Services != 1 || r.Refused != step.refused || (r.Bytes > 0) != step.writes {
			t.Errorf("with the address the machine's %v: %+v", step.mine, r)
		}
	}
}
