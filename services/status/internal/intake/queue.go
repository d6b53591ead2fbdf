package intake

import (
	"context"
	"sync"
	"time"

	"kubus.dev/proto"
)

// What of one node may wait at a time: reports of 10,000 pods and more, far from what
// hurts.
const (
	mostWaiting      = 20_000
	mostWaitingBytes = 64 << 20
)

// report is what an agent last said on a subject.
type report struct {
	subject  string
	data     []byte
	attempts int
}

// queue keeps the newest report of each subject until it is written. A subject that
// reports again while it waits keeps its place and costs one write; one that
// reports while it is being written goes to the end: it cannot starve others. What is
// read anew or tried again gives way to what was said since. What a node reports beyond
// its share is refused.
type queue struct {
	// caughtUp is called when nothing of a node waits any more of which something was
	// refused; nil: nobody asks.
	caughtUp func(node string)

	mu      sync.Mutex
	waiting map[string]*report
	retries map[string]*report // to be tried again, and not replaced since
	passed  map[string]bool    // subjects that reported while some are read anew; nil: none is
	shares  map[string]*share  // by node
	order   []string
	wake    chan struct{}
}

// share is what waits of one node.
type share struct {
	reports, bytes int
	refused        bool
}

func newQueue() *queue {
	return &queue{waiting: map[string]*report{}, retries: map[string]*report{}, shares: map[string]*share{}, wake: make(chan struct{}, 1)}
}

// nodeOf is whose share a subject counts to.
func nodeOf(subject string) string {
	node, err := proto.ReportNode(subject)
	if err != nil {
		return ""
	}
	return node
}

// put takes the newest report of a subject.
func (q *queue) put(r *report) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.retries, r.subject)
	if q.passed != nil {
		q.passed[r.subject] = true
	}
	q.insert(r)
}

// rereading begins a time in which reports are read anew, one such time at a time.
func (q *queue) rereading() (end func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.passed = map[string]bool{}
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.passed = nil
	}
}

// reread takes the report that was the newest of its subject when rereading began, or
// was said since, unless put had one of it.
func (q *queue) reread(r *report) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.passed[r.subject] || q.waiting[r.subject] != nil || q.retries[r.subject] != nil {
		return
	}
	q.insert(r)
}

func (q *queue) insert(r *report) {
	node := nodeOf(r.subject)
	s := q.shares[node]
	if s == nil {
		s = &share{}
		q.shares[node] = s
	}
	old := q.waiting[r.subject]
	reports, bytes := s.reports+1, s.bytes+len(r.data)
	if old != nil {
		reports, bytes = s.reports, bytes-len(old.data)
	}
	if reports > mostWaiting || bytes > mostWaitingBytes {
		s.refused = true
		return
	}
	s.reports, s.bytes = reports, bytes
	if old == nil {
		q.order = append(q.order, r.subject)
	}
	q.waiting[r.subject] = r
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// again puts a report back after a wait, unless a newer one has come by then.
func (q *queue) again(ctx context.Context, r *report, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting[r.subject] != nil {
		return
	}
	q.retries[r.subject] = r
	time.AfterFunc(wait, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.retries[r.subject] == r && ctx.Err() == nil {
			delete(q.retries, r.subject)
			q.insert(r)
		}
	})
}

// take waits for reports and returns at most limit of them, oldest first.
func (q *queue) take(ctx context.Context, limit int) ([]*report, error) {
	for {
		if taken := q.next(limit); len(taken) > 0 {
			return taken, nil
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *queue) next(limit int) []*report {
	q.mu.Lock()
	n := min(limit, len(q.order))
	taken := make([]*report, n)
	var caughtUp []string
	for i, subject := range q.order[:n] {
		r := q.waiting[subject]
		taken[i] = r
		delete(q.waiting, subject)
		node := nodeOf(subject)
		s := q.shares[node]
		s.reports, s.bytes = s.reports-1, s.bytes-len(r.data)
		if s.reports == 0 {
			delete(q.shares, node)
			if s.refused {
				caughtUp = append(caughtUp, node)
			}
		}
	}
	q.order = q.order[n:]
	q.mu.Unlock()
	for _, node := range caughtUp {
		if q.caughtUp != nil {
			q.caughtUp(node)
		}
	}
	return taken
}
