package loop

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// times runs the loop for a while and gives when it synced; fails says of each sync whether it does.
func times(t *testing.T, d time.Duration, wakes []time.Duration, fails func(n int) bool) (at []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		began := time.Now()
		wake := make(chan struct{}, 1)
		for _, w := range wakes {
			time.AfterFunc(w, func() {
				select {
				case wake <- struct{}{}:
				default:
				}
			})
		}
		Run(ctx, wake, 100*time.Millisecond, func(context.Context) error {
			at = append(at, time.Since(began))
			if fails(len(at)) {
				return errors.New("no")
			}
			return nil
		}, zap.NewNop(), "it failed")
	})
	return at
}

func TestASyncAtOnceAndOneAfterEachWakeApart(t *testing.T) {
	const ms = time.Millisecond
	got := times(t, time.Minute, []time.Duration{10 * ms, 20 * ms, 500 * ms}, func(int) bool { return false })
	if want := []time.Duration{0, 100 * ms, 500 * ms}; !slices.Equal(got, want) {
		t.Errorf("synced at %v, want %v", got, want)
	}
}

func TestWhatFailsIsTriedAgainAfterPausesThatDouble(t *testing.T) {
	const s = time.Second
	got := times(t, 2*time.Minute, nil, func(n int) bool { return n < 8 })
	if want := []time.Duration{0, s, 3 * s, 7 * s, 15 * s, 31 * s, 61 * s, 91 * s}; !slices.Equal(got, want) {
		t.Errorf("synced at %v, want %v", got, want)
	}
	again := times(t, 10*s, []time.Duration{5 * s}, func(n int) bool { return n == 1 || n == 3 })
	if want := []time.Duration{0, s, 5 * s, 6 * s}; !slices.Equal(again, want) {
		t.Errorf("after a success between two failures it synced at %v, want %v", again, want)
	}
}
