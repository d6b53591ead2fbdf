// Package queue is the one place where work is queued, retried and survived.
//
// A work item is a key. Start with Queue: Add says that a key needs looking at,
// Run hands keys to a reconciler. Promises: a key is never reconciled by two
// workers at once; a key added while it is being reconciled is reconciled again
// afterwards; a key added many times before a worker is free is reconciled once.
// A reconciler that returns an error, or panics, sees its key again after a
// back-off that doubles from 5 ms to 1,000 s; success resets it. Nothing polls: an
// idle queue holds no timer.
package queue

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Back-off bounds, as in upstream's default controller rate limiter.
const (
	baseDelay = 5 * time.Millisecond
	maxDelay  = 1000 * time.Second
)

// Reconciler looks at the world for one key and acts. The duration asks for
// another look after that time; zero asks for none.
type Reconciler[K comparable] func(ctx context.Context, key K) (time.Duration, error)

// ErrDrop, wrapped by a reconciler's error, says that retrying cannot help: the
// error is logged and the key waits for its next change.
var ErrDrop = errors.New("retrying cannot help")

// Queue holds keys until a worker is free. All methods may be called from any goroutine.
type Queue[K comparable] struct {
	counts counts

	mu       sync.Mutex
	ready    []K
	dirty    map[K]time.Time // since when: in ready, or to be put there when its worker is done
	running  map[K]bool
	failures map[K]int
	delayed  delays[K]
	due      map[K]*delay[K]
	timer    *time.Timer
	closed   bool
	wake     *sync.Cond
}

// New returns an empty queue; its metrics are counted under name.
func New[K comparable](name string) *Queue[K] {
	q := &Queue[K]{
		counts:   countsOf(name),
		dirty:    map[K]time.Time{},
		running:  map[K]bool{},
		failures: map[K]int{},
		due:      map[K]*delay[K]{},
	}
	q.wake = sync.NewCond(&q.mu)
	return q
}

// Add asks for key to be reconciled as soon as a worker is free.
func (q *Queue[K]) Add(key K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(key)
}

func (q *Queue[K]) add(key K) {
	if q.closed || !q.dirty[key].IsZero() {
		return
	}
	q.dirty[key] = time.Now()
	q.counts.adds.Inc()
	if q.running[key] {
		return
	}
	q.push(key)
}

// push makes key ready for a worker; mu is held.
func (q *Queue[K]) push(key K) {
	q.ready = append(q.ready, key)
	q.counts.depth.Inc()
	q.wake.Signal()
}

// AddAfter asks for key to be reconciled after d. Of two waits for one key the
// shorter counts.
func (q *Queue[K]) AddAfter(key K, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if d <= 0 {
		q.add(key)
		return
	}
	at := time.Now().Add(d)
	if old := q.due[key]; old != nil {
		if !at.Before(old.at) {
			return
		}
		old.at = at
		heap.Fix(&q.delayed, old.index)
	} else {
		item := &delay[K]{key: key, at: at}
		q.due[key] = item
		heap.Push(&q.delayed, item)
	}
	q.schedule()
}

// schedule sets the one timer to the earliest wait; mu is held.
func (q *Queue[K]) schedule() {
	if q.closed || len(q.delayed) == 0 {
		return
	}
	wait := time.Until(q.delayed[0].at)
	if q.timer == nil {
		q.timer = time.AfterFunc(wait, q.elapsed)
		return
	}
	q.timer.Reset(wait)
}

func (q *Queue[K]) elapsed() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for len(q.delayed) > 0 && !q.delayed[0].at.After(now) {
		item := heap.Pop(&q.delayed).(*delay[K])
		delete(q.due, item.key)
		q.add(item.key)
	}
	q.schedule()
}

// Len is the number of keys that wait for a worker.
func (q *Queue[K]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ready)
}

// Run reconciles with the given number of workers until ctx ends and all of them
// are done. A queue is run once.
func (q *Queue[K]) Run(ctx context.Context, workers int, logger *zap.Logger, reconcile Reconciler[K]) {
	stop := context.AfterFunc(ctx, q.close)
	defer stop()
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for {
				key, ok := q.next()
				if !ok {
					return
				}
				started := time.Now()
				again, err := q.guarded(ctx, reconcile, key)
				q.counts.workedOnFor.Observe(seconds(started))
				q.done(ctx, logger, key, again, err)
			}
		})
	}
	group.Wait()
}

func (q *Queue[K]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.counts.depth.Sub(float64(len(q.ready)))
	if q.timer != nil {
		q.timer.Stop()
	}
	q.wake.Broadcast()
}

func (q *Queue[K]) next() (key K, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.closed {
		q.wake.Wait()
	}
	if q.closed {
		return key, false
	}
	key = q.ready[0]
	var zero K
	q.ready[0] = zero
	q.ready = q.ready[1:]
	q.counts.depth.Dec()
	q.counts.waitedFor.Observe(seconds(q.dirty[key]))
	delete(q.dirty, key)
	q.running[key] = true
	q.counts.running.Inc()
	return key, true
}

func (q *Queue[K]) done(ctx context.Context, logger *zap.Logger, key K, again time.Duration, err error) {
	q.mu.Lock()
	delete(q.running, key)
	q.counts.running.Dec()
	if !q.dirty[key].IsZero() && !q.closed {
		q.push(key)
	}
	if err == nil || errors.Is(err, ErrDrop) {
		delete(q.failures, key)
	} else {
		again = backoff(q.failures[key])
		q.failures[key]++
		q.counts.retries.Inc()
	}
	attempt := q.failures[key]
	q.mu.Unlock()

	if err != nil && ctx.Err() == nil {
		level := zap.DebugLevel
		if attempt == 0 || attempt > 5 { // a conflict or two is everyday life
			level = zap.WarnLevel
		}
		logger.Log(level, "reconciling", zap.Any("key", key), zap.Int("attempt", attempt), zap.Error(err))
	}
	if again > 0 {
		q.AddAfter(key, again)
	}
}

// backoff is the wait after the given number of earlier failures.
func backoff(failures int) time.Duration {
	if failures > 17 {
		return maxDelay
	}
	return min(baseDelay<<failures, maxDelay)
}

func (q *Queue[K]) guarded(ctx context.Context, reconcile Reconciler[K], key K) (again time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			q.counts.panics.Inc()
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return reconcile(ctx, key)
}

type delay[K comparable] struct {
	key   K
	at    time.Time
	index int
}

type delays[K comparable] []*delay[K]

func (d delays[K]) Len() int           { return len(d) }
func (d delays[K]) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d delays[K]) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}
func (d *delays[K]) Push(x any) {
	item := x.(*delay[K])
	item.index = len(*d)
	*d = append(*d, item)
}
func (d *delays[K]) Pop() any {
	old := *d
	item := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	return item
}
