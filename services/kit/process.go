package kit

import (
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Process is what a running service is given of its process. In the all-in-one
// process every service gets its own Health checks and logger name, and shares
// the metrics registry.
type Process struct {
	Logger  *zap.Logger
	Metrics prometheus.Registerer
	Health  *Health
	Version string
}

// Named is the same process for one service of several.
func (p *Process) Named(service string) *Process {
	q := *p
	q.Logger = p.Logger.With(zap.String("service", service))
	q.Health = p.Health.Group(service)
	return &q
}
