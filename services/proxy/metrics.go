package proxy

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"kubus.dev/services/proxy/internal/enforcer"
	"kubus.dev/services/proxy/internal/syncer"
)

type metrics struct {
	syncs    *prometheus.CounterVec
	duration prometheus.Histogram
	latency  prometheus.Histogram
	chains   prometheus.Counter
	refused  prometheus.Gauge

	policies        prometheus.Gauge
	policySets      prometheus.Gauge
	policySyncs     *prometheus.CounterVec
	policyDuration  prometheus.Histogram
	policyLatency   prometheus.Histogram
	policiesWritten prometheus.Gauge
}

// newMetrics registers the proxy's metrics; several proxies of one process share
// them.
func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	buckets := []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30}
	m := &metrics{
		syncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kubus_proxy_syncs_total", Help: "Syncs of the rules, by result: written, unchanged, failed."}, []string{"result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubus_proxy_sync_duration_seconds", Help: "Time to make and write the rules of what changed.", Buckets: buckets}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubus_proxy_programming_duration_seconds", Help: "Time from a change's arrival until it is in the kernel.", Buckets: buckets}),
		chains: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kubus_proxy_chains_written_total", Help: "Chains written or removed."}),
		refused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kubus_proxy_refused_addresses", Help: "External and load-balancer addresses that Services may not have."}),
	}
	m.policies = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kubus_proxy_policies", Help: "NetworkPolicies that there are."})
	m.policySets = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kubus_proxy_policies_sets", Help: "Sets in the kernel that policies need on this node."})
	m.policySyncs = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kubus_proxy_policies_syncs_total", Help: "Syncs of the table of policies, by result: written, unchanged, failed."}, []string{"result"})
	m.policyDuration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "kubus_proxy_policies_sync_duration_seconds", Help: "Time to write what changed in the table of policies.", Buckets: buckets})
	m.policyLatency = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "kubus_proxy_policies_programming_duration_seconds", Help: "Time from a change's arrival until policies are in the kernel with it.", Buckets: buckets})
	m.policiesWritten = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kubus_proxy_policies_last_success_timestamp_seconds", Help: "When the kernel last was known to hold what policies say."})
	var err error
	m.policies, err = register(registry, m.policies, err)
	m.policySets, err = register(registry, m.policySets, err)
	m.policySyncs, err = register(registry, m.policySyncs, err)
	m.policyDuration, err = register(registry, m.policyDuration, err)
	m.policyLatency, err = register(registry, m.policyLatency, err)
	m.policiesWritten, err = register(registry, m.policiesWritten, err)
	m.syncs, err = register(registry, m.syncs, err)
	m.duration, err = register(registry, m.duration, err)
	m.latency, err = register(registry, m.latency, err)
	m.chains, err = register(registry, m.chains, err)
	m.refused, err = register(registry, m.refused, err)
	return m, err
}

// register gives the collector, or the one that is there already.
func register[C prometheus.Collector](registry prometheus.Registerer, c C, before error) (C, error) {
	if registry == nil || before != nil {
		return c, before
	}
	err := registry.Register(c)
	var there prometheus.AlreadyRegisteredError
	if errors.As(err, &there) {
		if existing, ok := there.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("registering metrics: %w", err)
	}
	return c, nil
}

// enforced tells of a sync of the policies.
func (m *metrics) enforced(r enforcer.Result) {
	if r.Err != nil {
		m.policySyncs.WithLabelValues("failed").Inc()
		return
	}
	m.policies.Set(float64(r.Policies))
	m.policySets.Set(float64(r.Sets))
	m.policiesWritten.SetToCurrentTime()
	if !r.Written {
		m.policySyncs.WithLabelValues("unchanged").Inc()
		return
	}
	m.policySyncs.WithLabelValues("written").Inc()
	m.policyDuration.Observe(r.Took.Seconds())
	m.policyLatency.Observe((r.Waited + r.Took).Seconds())
}

func (m *metrics) observe(r syncer.Result) {
	if r.Err == nil {
		m.refused.Set(float64(r.Refused))
	}
	switch {
	case r.Err != nil:
		m.syncs.WithLabelValues("failed").Inc()
		return
	case r.Bytes == 0:
		m.syncs.WithLabelValues("unchanged").Inc()
		return
	}
	m.syncs.WithLabelValues("written").Inc()
	m.duration.Observe(r.Took.Seconds())
	m.latency.Observe((r.Waited + r.Took).Seconds())
	m.chains.Add(float64(r.Chains))
}
