package chain

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// metrics count requests. Labels come of the table of kinds and the verbs, never
// of what clients send.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	running  prometheus.Gauge
	panics   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubus_gateway_requests_total", Help: "Requests that were served or refused, by verb and whether they were on a resource."}, []string{"verb", "resource"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubus_gateway_request_seconds", Help: "How long requests took that do not last as long as their client likes.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}}, []string{"verb"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubus_gateway_requests_running", Help: "Requests being served now, streams included."}),
		panics:  prometheus.NewCounter(prometheus.CounterOpts{Name: "kubus_gateway_panics_total", Help: "Requests that ended in a panic."}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.seconds, m.running, m.panics)
	}
	return m
}

var knownVerbs = map[string]bool{"get": true, "list": true, "watch": true, "create": true, "update": true, "patch": true, "delete": true, "deletecollection": true}

// observe counts one request; known says whether its resource is in the table.
func (m *metrics) observe(info *request.RequestInfo, known bool, began time.Time, streams bool) {
	verb, resource := info.Verb, info.Resource
	if !knownVerbs[verb] {
		verb = "other"
	}
	if !known {
		resource = ""
	}
	m.requests.WithLabelValues(verb, resource).Inc()
	if !streams {
		m.seconds.WithLabelValues(verb).Observe(time.Since(began).Seconds())
	}
}
