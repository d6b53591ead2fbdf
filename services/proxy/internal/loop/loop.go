// Package loop brings the kernel to what is wanted, again and again.
//
// Run promises: a sync at once, then one after each wake, with a pause of at least the interval
// between two; after one that failed the next without a wake, after pauses that double from
// a second to thirty.
package loop

import (
	"context"
	"time"

	"go.uber.org/zap"
)

const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// Run syncs until ctx ends; failed is what the log says of a sync that fails.
func Run(ctx context.Context, wake <-chan struct{}, interval time.Duration, sync func(context.Context) error, log *zap.Logger, failed string) {
	retry := firstRetry
	for {
		err := sync(ctx)
		pause := interval
		if err != nil && ctx.Err() == nil {
			log.Error(failed, zap.Error(err), zap.Duration("duration", retry))
			pause, retry = retry, min(2*retry, lastRetry)
		} else {
			retry = firstRetry
		}
		if !Sleep(ctx, pause) {
			return
		}
		if err != nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}

// Sleep tells whether ctx still goes on after a while.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
