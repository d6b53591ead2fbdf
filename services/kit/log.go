package kit

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Of one warning or error a second's first perWarning lines are written, and after them
// every oneOf-th: whoever makes a service warn without end must not fill the disk.
const (
	perWarning = 100
	oneOf      = 1000
)

// NewLogger logs to stderr.
func NewLogger(c Log) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, fmt.Errorf("log.level: %q is none of debug, info, warn, error", c.Level)
	}
	cfg := zap.NewProductionConfig()
	switch c.Format {
	case "json":
	case "text", "":
		cfg.Encoding = "console"
		cfg.EncoderConfig.EncodeLevel = zapcore.CapitalLevelEncoder
	default:
		return nil, fmt.Errorf("log.format: %q is neither text nor json", c.Format)
	}
	cfg.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	cfg.Level = zap.NewAtomicLevelAt(level)
	cfg.DisableStacktrace = true
	cfg.DisableCaller = true
	cfg.Sampling = nil
	logger, err := cfg.Build(zap.WrapCore(bounded))
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	return logger, nil
}

// bounded bounds a core's warnings and what is worse. What is less is of our own doing.
func bounded(core zapcore.Core) zapcore.Core {
	return &warnings{core, zapcore.NewSamplerWithOptions(core, time.Second, perWarning, oneOf)}
}

type warnings struct {
	zapcore.Core
	sampled zapcore.Core
}

func (w *warnings) With(fields []zapcore.Field) zapcore.Core {
	return &warnings{w.Core.With(fields), w.sampled.With(fields)}
}

func (w *warnings) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Level < zapcore.WarnLevel || e.Level >= zapcore.DPanicLevel {
		return w.Core.Check(e, checked)
	}
	return w.sampled.Check(e, checked)
}
