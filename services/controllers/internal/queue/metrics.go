package queue

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics under the names that upstream's work queues have, by the queue's name.
var (
	depth = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "workqueue_depth", Help: "Current depth of workqueue",
	}, label)
	adds = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "workqueue_adds_total", Help: "Total number of adds handled by workqueue",
	}, label)
	retries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "workqueue_retries_total", Help: "Total number of retries handled by workqueue",
	}, label)
	waited = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "workqueue_queue_duration_seconds", Help: "How long in seconds an item stays in workqueue before being requested.",
		Buckets: prometheus.ExponentialBuckets(10e-9, 10, 12),
	}, label)
	worked = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "workqueue_work_duration_seconds", Help: "How long in seconds processing an item from workqueue takes.",
		Buckets: prometheus.ExponentialBuckets(10e-9, 10, 12),
	}, label)
	unfinished = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "kubus_workqueue_running", Help: "Keys that a worker of the queue is on now",
	}, label)
	panics = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kubus_workqueue_panics_total", Help: "Reconciles that ended in a panic and are retried",
	}, label)
	label = []string{"name"}
)

// Metrics are what all queues of the process count.
func Metrics() []prometheus.Collector {
	return []prometheus.Collector{depth, adds, retries, waited, worked, unfinished, panics}
}

// counts are the metrics of one queue.
type counts struct {
	depth, running         prometheus.Gauge
	adds, retries, panics  prometheus.Counter
	waitedFor, workedOnFor prometheus.Observer
}

func countsOf(name string) counts {
	return counts{
		depth: depth.WithLabelValues(name), running: unfinished.WithLabelValues(name),
		adds: adds.WithLabelValues(name), retries: retries.WithLabelValues(name), panics: panics.WithLabelValues(name),
		waitedFor: waited.WithLabelValues(name), workedOnFor: worked.WithLabelValues(name),
	}
}

func seconds(since time.Time) float64 { return time.Since(since).Seconds() }
