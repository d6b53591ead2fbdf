package chain

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	epmetrics "k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// metrics count requests under upstream's names (apiserver_request_total and its
// kin), which live in upstream's own registry. Labels come of the table of kinds and
// the verbs, never of what clients send.
type metrics struct {
	panics            prometheus.Counter
	reading, mutating atomic.Int64 // requests in hand that do not last as long as their client likes
}

func newMetrics(r prometheus.Registerer) *metrics {
	epmetrics.Register()
	m := &metrics{panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "kubus_gateway_panics_total", Help: "Requests that ended in a panic."})}
	if r != nil {
		r.MustRegister(m.panics)
	}
	return m
}

// begin counts a short request in; the returned function counts it out.
func (m *metrics) begin(info *request.RequestInfo) func() {
	in := &m.mutating
	if readOnly(info.Verb) {
		in = &m.reading
	}
	in.Add(1)
	return func() { in.Add(-1) }
}

// readOnly tells the verbs that upstream counts as such.
func readOnly(verb string) bool {
	switch verb {
	case "get", "list", "watch", "head", "options":
		return true
	}
	return false
}

// observe counts one request that is over; known says whether its resource is in the table.
func (m *metrics) observe(r *http.Request, info *request.RequestInfo, known bool, a *answer, began time.Time) {
	verb := strings.ToUpper(info.Verb)
	group, version, resource, subresource := info.APIGroup, info.APIVersion, info.Resource, info.Subresource
	switch {
	case known && subresource != "" && a.status() == http.StatusNotFound:
		subresource = "" // it may be one that nobody serves
	case known:
	case !info.IsResourceRequest && a.status() != http.StatusNotFound && fixed(info.Path):
		group, version, resource, subresource = "", "", "", info.Path
	default:
		group, version, resource, subresource = "", "", "", ""
	}
	epmetrics.MonitorRequest(r, verb, group, version, resource, subresource, scope(info, known), epmetrics.APIServerComponent,
		false, "", a.status(), a.bytes, time.Since(began))
}

func scope(info *request.RequestInfo, known bool) string {
	if !known {
		return ""
	}
	return epmetrics.CleanScope(info)
}

// fixed tells the paths that there are whatever the cluster serves.
func fixed(path string) bool {
	switch path {
	case "/livez", "/readyz", "/healthz", "/metrics", "/metrics/slis", "/version", "/version/", "/api", "/apis", "/openapi/v2", "/openapi/v3", "/":
		return true
	}
	return false
}

// Gauges brings apiserver_current_inflight_requests up to date: what is true when
// somebody asks, where upstream has the most of the last second.
func (c *Chain) Gauges() {
	epmetrics.UpdateInflightRequestMetrics(epmetrics.ExecutingPhase, int(c.metrics.reading.Load()), int(c.metrics.mutating.Load()))
}
