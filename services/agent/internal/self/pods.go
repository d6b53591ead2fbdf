package self

import (
	"github.com/prometheus/client_golang/prometheus"

	"kubus.dev/services/agent/internal/runtime"
)

// Metrics under a kubelet's names and in its words.
var (
	nameDesc       = prometheus.NewDesc("kubelet_node_name", "[ALPHA] The node's name. The count is always 1.", []string{"node"}, nil)
	podsDesc       = prometheus.NewDesc("kubelet_running_pods", "[ALPHA] Number of pods that have a running pod sandbox", nil, nil)
	containersDesc = prometheus.NewDesc("kubelet_running_containers", "[ALPHA] Number of containers currently running", []string{"container_state"}, nil)
	buildDesc      = prometheus.NewDesc("kubernetes_build_info", "[ALPHA] A metric with a constant '1' value labeled by the version of what runs here.", []string{"git_version"}, nil)
)

// pods counts what runs when it is asked.
type pods struct{ node Node }

// Describe implements prometheus.Collector.
func (p *pods) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, out) }

// Collect implements prometheus.Collector.
func (p *pods) Collect(out chan<- prometheus.Metric) {
	running, states := 0, map[string]int{stateOf(runtime.ContainerRunning): 0}
	for _, sandbox := range p.node.Sandboxes() {
		if sandbox.State == runtime.SandboxReady {
			running++
		}
		for _, c := range p.node.Containers(sandbox.ID) {
			states[stateOf(c.State)]++
		}
	}
	gauge := func(d *prometheus.Desc, value int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	gauge(nameDesc, 1, p.node.Name)
	gauge(podsDesc, running)
	for state, n := range states {
		gauge(containersDesc, n, state)
	}
	gauge(buildDesc, 1, p.node.Version)
}

// stateOf is a container's state in a kubelet's words.
func stateOf(s runtime.ContainerState) string {
	switch s {
	case runtime.ContainerCreated:
		return "created"
	case runtime.ContainerRunning:
		return "running"
	case runtime.ContainerExited:
		return "exited"
	}
	return "unknown"
}
