package gateway

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// metricsHandler serves /metrics: what this process tells of itself, and upstream's
// metrics (apiserver_*) of the libraries that we run. refresh brings those up to date
// that are computed only when somebody asks.
func metricsHandler(own prometheus.Gatherer, refresh func()) http.Handler {
	serve := promhttp.HandlerFor(both{own, legacyregistry.DefaultGatherer}, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refresh()
		serve.ServeHTTP(w, r)
	})
}

// both gathers of two registries; of what both have (the process's memory, the
// runtime's goroutines) the first's is shown.
type both struct{ first, second prometheus.Gatherer }

func (b both) Gather() ([]*dto.MetricFamily, error) {
	families, err := b.first.Gather()
	if err != nil {
		return families, err
	}
	more, err := b.second.Gather()
	had := make(map[string]bool, len(families))
	for _, f := range families {
		had[f.GetName()] = true
	}
	for _, f := range more {
		if !had[f.GetName()] {
			families = append(families, f)
		}
	}
	return families, err
}

// tellIntegrity registers what the views find wrong with the log, and how much it holds.
// Of several gateways in one process, the first tells.
func tellIntegrity(metrics prometheus.Registerer, views *statelog.Views) error {
	count := func(name, help string, of func(statelog.Integrity) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(of(views.Integrity())) })
	}
	collectors := []prometheus.Collector{
		count("kubus_log_refused_total", "Messages of the log that no gateway wrote.", func(i statelog.Integrity) uint64 { return i.Refused }),
		count("kubus_log_restored_total", "Objects whose last good version was written again.", func(i statelog.Integrity) uint64 { return i.Restored }),
		count("kubus_log_lost_total", "Refused messages of whose objects no good version is known.", func(i statelog.Integrity) uint64 { return i.Lost }),
		count("kubus_log_replaced_total", "How often a stream was found deleted or made anew.", func(i statelog.Integrity) uint64 { return i.Replaced }),
	}
	for _, s := range proto.StateStreams() {
		view := views.Stream(s)
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "kubus_log_objects_bytes", Help: "What live objects take.", ConstLabels: prometheus.Labels{"stream": s.Name},
		}, func() float64 { return float64(view.Usage("").Total) }))
	}
	for _, c := range collectors {
		if err := metrics.Register(c); err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}
