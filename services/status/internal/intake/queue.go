package intake

import (
	"context"
	"sync"
	"time"
)

// report is what an agent last said on a subject.
type report struct {
	subject  string
	data     []byte
	attempts int
}

// queue keeps the newest report of each subject until it is written. A subject that
// reports again while it waits keeps its place and costs one write; one that
// reports while it is being written goes to the end: it cannot starve others.
type queue struct {
	mu      sync.Mutex
	waiting map[string]*report
	order   []string
	wake    chan struct{}
}

func newQueue() *queue { return &queue{waiting: map[string]*report{}, wake: make(chan struct{}, 1)} }

func (q *queue) put(r *report) {
	q.mu.Lock()
	if q.waiting[r.subject] == nil {
		q.order = append(q.order, r.subject)
	}
	q.waiting[r.subject] = r
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// again puts a report back after a wait, unless a newer one has come by then.
func (q *queue) again(ctx context.Context, r *report, wait time.Duration) {
	time.AfterFunc(wait, func() {
		q.mu.Lock()
		newer := q.waiting[r.subject] != nil
		q.mu.Unlock()
		if !newer && ctx.Err() == nil {
			q.put(r)
		}
	})
}

// take waits for reports and returns at most limit of them, oldest first.
func (q *queue) take(ctx context.Context, limit int) ([]*report, error) {
	for {
		q.mu.Lock()
		n := min(limit, len(q.order))
		taken := make([]*report, n)
		for i, subject := range q.order[:n] {
			taken[i] = q.waiting[subject]
			delete(q.waiting, subject)
		}
		q.order = q.order[n:]
		q.mu.Unlock()
		if n > 0 {
			return taken, nil
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
