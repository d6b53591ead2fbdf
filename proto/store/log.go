package store

import (
	"fmt"
	"sync"

	"go.uber.org/zap"
)

// serverLog turns the server's lines into ours and keeps the first fatal one: an
// embedded server must not end the process, but whoever started it must hear.
type serverLog struct {
	log *zap.Logger

	mu    sync.Mutex
	first string
}

func newServerLog(log *zap.Logger) *serverLog {
	if log == nil {
		log = zap.NewNop()
	}
	return &serverLog{log: log.WithOptions(zap.WithCaller(false))}
}

func (l *serverLog) line(format string, args []any) zap.Field {
	return zap.String("line", fmt.Sprintf(format, args...))
}

func (l *serverLog) Noticef(format string, args ...any) { l.log.Debug("store", l.line(format, args)) }
func (l *serverLog) Warnf(format string, args ...any)   { l.log.Warn("store", l.line(format, args)) }
func (l *serverLog) Errorf(format string, args ...any)  { l.log.Error("store", l.line(format, args)) }
func (l *serverLog) Debugf(string, ...any)              {}
func (l *serverLog) Tracef(string, ...any)              {}

func (l *serverLog) Fatalf(format string, args ...any) {
	l.log.Error("store stops", l.line(format, args))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == "" {
		l.first = fmt.Sprintf(format, args...)
	}
}

func (l *serverLog) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}
