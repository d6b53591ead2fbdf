package mirror

import "github.com/prometheus/client_golang/prometheus"

var undecodable = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "kubus_controllers_undecodable_objects_total",
	Help: "Objects in the log that could not be decoded and were passed over.",
}, []string{"resource"})

// Metrics are what this package counts.
func Metrics() []prometheus.Collector { return []prometheus.Collector{undecodable} }
