package daemonset

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Bounds of the wait before another failed pod of a node is deleted, as upstream's.
const (
	firstDelay = time.Second
	maxDelay   = 15 * time.Minute
	forgotten  = 2 * maxDelay // without a failure
)

// backoffs remember which nodes a set's pods fail on. A set that changes begins anew.
type backoffs struct {
	mu      sync.Mutex
	entries map[place]backoff
	swept   time.Time
}

type place struct {
	set        types.UID
	generation int64
	node       string
}

type backoff struct {
	delay time.Duration
	since time.Time
}

// wait is how long the place is to be left alone.
func (b *backoffs) wait(at place, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	entry := b.entries[at]
	return max(0, entry.since.Add(entry.delay).Sub(now))
}

// failed counts a failure at the place.
func (b *backoffs) failed(at place, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.entries == nil {
		b.entries = map[place]backoff{}
	}
	if now.Sub(b.swept) > time.Minute {
		for each, entry := range b.entries {
			if now.Sub(entry.since) > forgotten {
				delete(b.entries, each)
			}
		}
		b.swept = now
	}
	entry := backoff{firstDelay, now}
	if before, known := b.entries[at]; known && now.Sub(before.since) <= forgotten {
		entry.delay = min(2*before.delay, maxDelay)
	}
	b.entries[at] = entry
}
