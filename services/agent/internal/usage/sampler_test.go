package usage

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"
	protobuf "google.golang.org/protobuf/proto"

	"kubus.dev/proto/message"
	"kubus.dev/services/agent/internal/runtime"
)

// node runs pod "web" with container "app", a pod whose container has ended, and one whose
// sandbox is gone.
type node struct{ started time.Time }

func (n node) Sandboxes() []runtime.Sandbox {
	return []runtime.Sandbox{
		{ID: "s1", PodUID: "u1", Namespace: "ns", Name: "web", State: runtime.SandboxReady, CreatedAt: n.started},
		{ID: "s2", PodUID: "u2", Namespace: "ns", Name: "done", State: runtime.SandboxReady},
		{ID: "s3", PodUID: "u3", Namespace: "ns", Name: "lost", State: runtime.SandboxNotReady},
	}
}

func (n node) Containers(sandbox string) []runtime.ContainerStatus {
	switch sandbox {
	case "s1":
		return []runtime.ContainerStatus{
			{ID: "c1", Name: "app", State: runtime.ContainerRunning, Cgroup: "/app", StartedAt: n.started},
			{ID: "c2", Name: "init", State: runtime.ContainerExited, Cgroup: "/app"},
			{ID: "c3", Name: "ending", State: runtime.ContainerRunning, Cgroup: "/gone", StartedAt: n.started},
		}
	case "s2":
		return []runtime.ContainerStatus{{ID: "c4", Name: "app", State: runtime.ContainerExited, Cgroup: "/app"}}
	}
	return []runtime.ContainerStatus{{ID: "c5", Name: "app", State: runtime.ContainerRunning, Cgroup: "/app"}}
}

type published struct {
	mu       sync.Mutex
	subjects []string
	last     *message.NodeUsage
}

func (p *published) Publish(subject string, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subjects, p.last = append(p.subjects, subject), &message.NodeUsage{}
	return protobuf.Unmarshal(data, p.last)
}

func (p *published) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.subjects)
}

var groups = map[string]string{
	"cpuacct/app/cpuacct.usage": "1000000000\n", "memory/app/memory.usage_in_bytes": "4096\n", "memory/app/memory.stat": "total_inactive_file 96\n",
	"cpuacct/cpuacct.usage": "9000000000\n", "memory/memory.usage_in_bytes": "9000\n", "memory/memory.stat": "total_inactive_file 0\n",
}

func sampler(t *testing.T, bus Publisher) *Sampler {
	t.Helper()
	s := New("n.1", node{time.Now()}, bus, zaptest.NewLogger(t))
	s.reader = newReader(tree(t, groups), false)
	return s
}

func TestAReadingIsPublishedWhenSomebodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &published{}
		s := sampler(t, bus)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.Run(ctx)
		}()
		time.Sleep(time.Hour)
		if bus.count() != 0 {
			t.Error("nobody asked")
		}
		started := time.Now().Add(-time.Hour)
		for range 3 { // as three metrics services do
			s.Ask()
			synctest.Wait()
		}
		if !slices.Equal(bus.subjects, []string{"usage.node.n=2E1"}) {
			t.Errorf("published %q, want one message for all who ask at a time", bus.subjects)
		}
		m := bus.last
		if m.TimeUnixNs != time.Now().UnixNano() || m.Node.GetCpuNs() != 9_000_000_000 || m.Node.GetMemoryBytes() != 9000 {
			t.Errorf("the machine: %v", m)
		}
		if len(m.Pods) != 1 || m.Pods[0].Uid != "u1" || len(m.Pods[0].Containers) != 1 {
			t.Fatalf("got %v, want the one pod with a container that runs", m.Pods)
		}
		c := m.Pods[0].Containers[0]
		if c.Name != "app" || c.Usage.CpuNs != 1_000_000_000 || c.Usage.MemoryBytes != 4000 || c.Usage.StartUnixNs != started.UnixNano() {
			t.Errorf("the container: %v", c)
		}
		time.Sleep(least)
		s.Ask()
		synctest.Wait()
		if bus.count() != 2 {
			t.Errorf("%d messages, want another after a while", bus.count())
		}
		cancel()
		<-done
	})
}

func TestANodesOwnEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sampler(t, &published{})
		first, err := s.Endpoint("metrics/resource", t.TempDir(), Machine{})
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{
			`container_cpu_usage_seconds_total{container="app",namespace="ns",pod="web"} 1 946684800000`,
			`container_memory_working_set_bytes{container="app",namespace="ns",pod="web"} 4000 946684800000`,
			`container_start_time_seconds{container="app",namespace="ns",pod="web"} 9.466848e+08 946684800000`,
			`node_cpu_usage_seconds_total 9 946684800000`,
			`pod_memory_working_set_bytes{namespace="ns",pod="web"} 4000 946684800000`,
			"# TYPE pod_cpu_usage_seconds_total counter", "resource_scrape_error 0",
		} {
			if !strings.Contains(string(first), line+"\n") {
				t.Errorf("no line %s in\n%s", line, first)
			}
		}
		later := maps.Clone(groups)
		later["cpuacct/app/cpuacct.usage"] = "2500000000\n"
		s.reader = newReader(tree(t, later), false)
		time.Sleep(3 * time.Second)
		body, err := s.Endpoint("stats/summary", t.TempDir(), Machine{})
		if err != nil {
			t.Fatal(err)
		}
		var summary struct {
			Node struct {
				NodeName string
				Fs       struct{ CapacityBytes uint64 }
			}
			Pods []struct {
				PodRef struct{ Name, Namespace, UID string }
				CPU    struct{ UsageNanoCores, UsageCoreNanoSeconds uint64 }
				Memory struct{ WorkingSetBytes uint64 }
			}
		}
		if err := json.Unmarshal(body, &summary); err != nil {
			t.Fatal(err)
		}
		if summary.Node.NodeName != "n.1" || summary.Node.Fs.CapacityBytes == 0 || len(summary.Pods) != 1 {
			t.Fatalf("got %s", body)
		}
		p := summary.Pods[0]
		if p.PodRef.Name != "web" || p.PodRef.UID != "u1" || p.CPU.UsageCoreNanoSeconds != 2_500_000_000 || p.CPU.UsageNanoCores != 500_000_000 || p.Memory.WorkingSetBytes != 4000 {
			t.Errorf("1.5 s of CPU in 3 s: got %+v", p)
		}
		if _, err := s.Endpoint("configz", "", Machine{}); err == nil {
			t.Error("no such path is served")
		}
	})
}
