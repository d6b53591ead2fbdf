package intake

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	replayGap = 30 * time.Second // between two replays for one node
	// settle is when what others wrote about a node's pods while it was given up has come
	// to an end after it is back.
	settle   = 15 * time.Second
	together = 64 // nodes in one replay
)

// replays has what single nodes said last read anew, and nothing of others. Safe for
// concurrent use.
type replays struct {
	// read gives to the queue what the nodes said last, and returns when it has.
	read func(ctx context.Context, nodes []string) error

	mu     sync.Mutex
	last   map[string]time.Time // when each node was read, or is going to be
	wanted map[string]bool
	wake   chan struct{}
}

func newReplays(read func(ctx context.Context, nodes []string) error) *replays {
	return &replays{read: read, last: map[string]time.Time{}, wanted: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// Ask has a node read: now, or when it was a moment ago at the end of the gap.
func (r *replays) Ask(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	wait := time.Duration(0)
	if last, found := r.last[node]; found {
		wait = max(0, last.Add(replayGap).Sub(now))
	}
	if wait > replayGap { // it is going to be
		return
	}
	r.last[node] = now.Add(wait)
	r.after(node, wait)
}

// Later has a node read when a time has passed, whenever it is read besides.
func (r *replays) Later(node string, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.after(node, wait)
}

// Forget is for a node that is no more.
func (r *replays) Forget(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, node)
	delete(r.wanted, node)
}

// after is called with mu held.
func (r *replays) after(node string, wait time.Duration) {
	if wait > 0 {
		time.AfterFunc(wait, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.after(node, 0)
		})
		return
	}
	r.wanted[node] = true
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run reads what is asked for until ctx ends.
func (r *replays) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		r.mu.Lock()
		nodes := slices.Sorted(maps.Keys(r.wanted))
		clear(r.wanted)
		r.mu.Unlock()
		for some := range slices.Chunk(nodes, together) {
			if err := r.read(ctx, some); err != nil {
				return err
			}
		}
	}
}
