// Package upstreamlog sends what Kubernetes' libraries log through klog to the
// service's own logger, in its form. They have one logger a process, so the last
// caller of Use wins; gateways of one process share theirs.
package upstreamlog

import (
	"fmt"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"k8s.io/klog/v2"
)

// Use makes klog write to logger: errors as warnings, since whoever called the
// library decides what they mean, the rest for debugging.
func Use(logger *zap.Logger) {
	klog.SetLogger(logr.New(sink{logger.Named("kubernetes")}))
}

type sink struct{ log *zap.Logger }

func (sink) Init(logr.RuntimeInfo) {}

// Enabled lets klog's own verbosity decide, which is the lowest.
func (sink) Enabled(level int) bool { return level == 0 }

func (s sink) Info(_ int, message string, pairs ...any) { s.log.Debug(message, fields(pairs)...) }

func (s sink) Error(err error, message string, pairs ...any) {
	s.log.Warn(message, append(fields(pairs), zap.Error(err))...)
}

func (s sink) WithValues(pairs ...any) logr.LogSink { return sink{s.log.With(fields(pairs)...)} }
func (s sink) WithName(name string) logr.LogSink    { return sink{s.log.Named(name)} }

func fields(pairs []any) []zap.Field {
	out := make([]zap.Field, 0, len(pairs)/2+1)
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, zap.Any(fmt.Sprint(pairs[i]), pairs[i+1]))
	}
	return out
}
