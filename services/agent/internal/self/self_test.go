package self

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"

	"kubus.dev/services/agent/internal/runtime"
)

func newEndpoints() *Endpoints {
	probes := prometheus.NewCounter(prometheus.CounterOpts{Name: "prober_probe_total", Help: "x"})
	probes.Inc()
	return New(Node{
		Name: "n1", Version: "v1.37.2+kubus.1", Probes: probes,
		Config: Configuration{
			ClusterDNS: []string{"10.96.0.10"}, MaxPods: 110, PodPidsLimit: 4096, CPUManagerPolicy: "none", SystemReserved: map[string]string{"cpu": "1"},
			EvictionHard: map[string]string{"memory.available": "100Mi"}, EvictionPressureTransitionPeriod: "5m0s", ImageMinimumGCAge: "2m0s", ImageMaximumGCAge: "0s",
			ContainerLogMaxSize: "10485760", ContainerLogMaxFiles: 5, ShutdownGracePeriod: "30s", ShutdownGracePeriodCriticalPods: "10s",
		},
		Sandboxes: func() []runtime.Sandbox {
			return []runtime.Sandbox{{ID: "a", State: runtime.SandboxReady}, {ID: "b", State: runtime.SandboxReady}, {ID: "c", State: runtime.SandboxNotReady}}
		},
		Containers: func(sandbox string) []runtime.ContainerStatus {
			return map[string][]runtime.ContainerStatus{
				"a": {{State: runtime.ContainerRunning}, {State: runtime.ContainerExited}}, "b": {{State: runtime.ContainerRunning}}, "c": {{State: runtime.ContainerCreated}},
			}[sandbox]
		},
		Usage: func(path string) ([]byte, error) { return nil, errors.New("no " + path) },
	})
}

func told(t *testing.T, path string) string {
	t.Helper()
	data, err := newEndpoints().Tell(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestMetricsCountWhatRunsUnderAKubeletsNames(t *testing.T) {
	t.Parallel()
	got := told(t, "metrics")
	for _, line := range []string{
		`kubelet_node_name{node="n1"} 1`, `kubelet_running_pods 2`, `kubelet_running_containers{container_state="running"} 2`,
		`kubelet_running_containers{container_state="exited"} 1`, `kubelet_running_containers{container_state="created"} 1`,
		`kubernetes_build_info{git_version="v1.37.2+kubus.1"} 1`, `# TYPE kubelet_running_pods gauge`,
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no %q in\n%s", line, got)
		}
	}
	if !strings.Contains(got, "process_resident_memory_bytes") {
		t.Error("nothing of the process")
	}
}

func TestMetricsOfProbesAreApart(t *testing.T) {
	t.Parallel()
	if got := told(t, "metrics/probes"); !strings.Contains(got, "prober_probe_total 1\n") || strings.Contains(got, "kubelet_") {
		t.Errorf("told:\n%s", got)
	}
}

// Upstream's type knows every field by the same name and form.
func TestConfigzIsAKubeletConfiguration(t *testing.T) {
	t.Parallel()
	var answer struct {
		Kubeletconfig json.RawMessage `json:"kubeletconfig"`
	}
	if err := json.Unmarshal([]byte(told(t, "configz")), &answer); err != nil {
		t.Fatal(err)
	}
	var c kubeletv1beta1.KubeletConfiguration
	d := json.NewDecoder(bytes.NewReader(answer.Kubeletconfig))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if c.Kind != "KubeletConfiguration" || c.MaxPods != 110 || *c.PodPidsLimit != 4096 || c.EvictionHard["memory.available"] != "100Mi" ||
		c.EvictionPressureTransitionPeriod.Duration != 5*time.Minute || c.ShutdownGracePeriod.Duration != 30*time.Second || *c.ContainerLogMaxFiles != 5 {
		t.Errorf("upstream reads %+v", c)
	}
}

func TestOtherPathsAreThoseOfUsage(t *testing.T) {
	t.Parallel()
	if _, err := newEndpoints().Tell("stats/summary"); err == nil || err.Error() != "no stats/summary" {
		t.Errorf("got %v", err)
	}
}
