package gateway

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
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
