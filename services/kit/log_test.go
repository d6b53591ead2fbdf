package kit

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// still is a clock that somebody moves.
type still struct{ now time.Time }

func (s *still) Now() time.Time                         { return s.now }
func (s *still) NewTicker(d time.Duration) *time.Ticker { return time.NewTicker(d) }

func TestWhoMakesAServiceWarnDoesNotFillTheDisk(t *testing.T) {
	t.Parallel()
	core, seen := observer.New(zapcore.DebugLevel)
	clock := &still{time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)}
	logger := zap.New(bounded(core), zap.WithClock(clock)).With(zap.String("service", "s"))
	count := func(message string) int { return seen.FilterMessage(message).Len() }
	for range 5 * oneOf {
		logger.Warn("dropping report")
		logger.Info("a pod runs")
	}
	logger.Warn("something else")
	logger.Error("dropping report")
	if got, want := count("dropping report"), perWarning+(5*oneOf-perWarning)/oneOf+1; got != want {
		t.Errorf("of 5000 warnings and an error %d were written, want %d", got, want)
	}
	if count("something else") != 1 || count("a pod runs") != 5*oneOf {
		t.Errorf("of others: %d warnings, %d that are none", count("something else"), count("a pod runs"))
	}
	clock.now = clock.now.Add(time.Second)
	before := count("dropping report")
	if logger.Warn("dropping report"); count("dropping report") != before+1 {
		t.Error("a second later it is still left out")
	}
}
