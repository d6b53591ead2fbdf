// Package self is what a node says of itself at a kubelet's endpoints: /metrics,
// /metrics/probes and /configz here, and what package usage reads. A path that is none of
// them is an error for the client.
package self

import (
	"bytes"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"kubus.dev/services/agent/internal/runtime"
)

// Node is what there is to say.
type Node struct {
	Name    string
	Version string
	Config  Configuration
	// Sandboxes and Containers are the runtime's.
	Sandboxes  func() []runtime.Sandbox
	Containers func(sandbox string) []runtime.ContainerStatus
	Probes     prometheus.Collector
	// Usage answers the other paths.
	Usage func(path string) ([]byte, error)
}

// Endpoints answer.
type Endpoints struct {
	node            Node
	metrics, probes *prometheus.Registry
}

// New registers the metrics.
func New(n Node) *Endpoints {
	e := &Endpoints{node: n, metrics: prometheus.NewRegistry(), probes: prometheus.NewRegistry()}
	e.probes.MustRegister(n.Probes)
	e.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &pods{n})
	return e
}

// Tell answers a path, without its leading slash.
func (e *Endpoints) Tell(path string) ([]byte, error) {
	switch path {
	case "metrics":
		return text(e.metrics)
	case "metrics/probes":
		return text(e.probes)
	case "configz":
		return e.node.Config.configz()
	}
	return e.node.Usage(path)
}

// text is what a registry holds in Prometheus' format.
func text(r prometheus.Gatherer) ([]byte, error) {
	families, err := r.Gather()
	if err != nil {
		return nil, fmt.Errorf("gathering metrics: %w", err)
	}
	var out bytes.Buffer
	to := expfmt.NewEncoder(&out, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := to.Encode(f); err != nil {
			return nil, fmt.Errorf("writing metrics: %w", err)
		}
	}
	return out.Bytes(), nil
}
