package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/plan"
)

// patience bounds the wait for the log to reach a revision.
const patience = 5 * time.Second

// Shared is a Mirror with its lock, fed from the log. Hold the lock around every
// use of Mirror.
type Shared struct {
	sync.Mutex
	*Mirror
	advanced chan struct{} // closed and replaced when the mirror moves on
}

// NewShared gives an empty mirror.
func NewShared() *Shared { return &Shared{Mirror: New(), advanced: make(chan struct{})} }

// Apply takes in what the log says. The caller does not hold the lock.
func (s *Shared) Apply(b feed.Batch) {
	s.Lock()
	defer s.Unlock()
	s.Mirror.Apply(b)
	close(s.advanced)
	s.advanced = make(chan struct{})
}

// Reach waits until the mirror covers what another one has Seen, for a few seconds
// at most. The caller does not hold the lock.
func (s *Shared) Reach(ctx context.Context, r plan.Revision) error {
	var timeout <-chan time.Time
	for {
		s.Lock()
		at, advanced := s.At(), s.advanced
		s.Unlock()
		if at.Covers(r) {
			return nil
		}
		if timeout == nil {
			t := time.NewTimer(patience)
			defer t.Stop()
			timeout = t.C
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return fmt.Errorf("the state log is behind: read up to %+v, need %+v", at, r)
		}
	}
}
