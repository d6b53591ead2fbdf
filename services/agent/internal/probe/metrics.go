package probe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
)

// Results as upstream's metrics call them.
const (
	successful = "successful"
	failed     = "failed"
	unknown    = "unknown" // the probe could not be asked
)

// metrics are a kubelet's /metrics/probes: of the probes that there are now, under
// upstream's names.
type metrics struct {
	total *prometheus.CounterVec
	took  *prometheus.HistogramVec
}

func newMetrics() metrics {
	of := []string{"probe_type", "container", "pod", "namespace"}
	return metrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prober_probe_total", Help: "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.",
		}, append(of, "result", "pod_uid")),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "prober_probe_duration_seconds", Help: "[ALPHA] Duration in seconds for a probe response.",
		}, of),
	}
}

// count notes one attempt; as upstream's, the time of failures is not told.
func (m metrics) count(k Kind, pod *corev1.Pod, container string, o Outcome, took time.Duration) {
	result := failed
	switch {
	case o.Err != nil:
		result = unknown
	case o.OK:
		result = successful
	}
	m.total.WithLabelValues(k.String(), container, pod.Name, pod.Namespace, result, string(pod.UID)).Inc()
	if result != failed {
		m.took.WithLabelValues(k.String(), container, pod.Name, pod.Namespace).Observe(took.Seconds())
	}
}

// forget ends the series of a probe.
func (m metrics) forget(k Kind, pod *corev1.Pod, container string) {
	labels := prometheus.Labels{"probe_type": k.String(), "container": container, "pod": pod.Name, "namespace": pod.Namespace}
	m.took.Delete(labels)
	labels["pod_uid"] = string(pod.UID)
	m.total.DeletePartialMatch(labels)
}

// Describe implements prometheus.Collector.
func (m *Manager) Describe(out chan<- *prometheus.Desc) {
	m.metrics.total.Describe(out)
	m.metrics.took.Describe(out)
}

// Collect implements prometheus.Collector.
func (m *Manager) Collect(out chan<- prometheus.Metric) {
	m.metrics.total.Collect(out)
	m.metrics.took.Collect(out)
}
