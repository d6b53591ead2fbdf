// Package pulse decides when the nodes are asked what they use: now and then by itself, so
// that there is something to show, and often while somebody reads.
//
//	        a read                     linger without one
//	slow ──────────► fast (asks at once) ────────────────► slow
package pulse

import (
	"context"
	"sync"
	"time"
)

// Periods are how often nodes are asked.
type Periods struct {
	Slow, Fast time.Duration
	// Linger is how long after the last read it stays fast.
	Linger time.Duration
}

// Pulse asks. Safe for concurrent use.
type Pulse struct {
	periods Periods
	beat    func()
	wake    chan struct{}

	mu   sync.Mutex
	read time.Time // the last one
}

// New makes a pulse that calls beat, on the goroutine of Run.
func New(p Periods, beat func()) *Pulse {
	return &Pulse{periods: p, beat: beat, wake: make(chan struct{}, 1)}
}

// Read says that somebody reads. It never blocks.
func (p *Pulse) Read() {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.read
	p.read = time.Now()
	if p.read.Sub(before) < p.periods.Linger {
		return
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run beats until ctx ends, at first at once.
func (p *Pulse) Run(ctx context.Context) error {
	for {
		last := time.Now()
		p.beat()
		if !p.rest(ctx, last) {
			return nil
		}
	}
}

// rest waits for the moment of the next beat; false: ctx has ended.
func (p *Pulse) rest(ctx context.Context, last time.Time) bool {
	for {
		t := time.NewTimer(time.Until(last.Add(p.period(time.Now()))))
		select {
		case <-ctx.Done():
			t.Stop()
			return false
		case <-t.C:
			return true
		case <-p.wake: // the period is another now
			t.Stop()
		}
	}
}

// period is the present one.
func (p *Pulse) period(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.read) < p.periods.Linger {
		return p.periods.Fast
	}
	return p.periods.Slow
}
