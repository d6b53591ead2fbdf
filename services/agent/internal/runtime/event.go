package runtime

import "sync"

// eventQueue hands events out in order without ever making their source wait.
type eventQueue struct {
	out chan Event

	mu      sync.Mutex
	waiting []Event
	wake    chan struct{} // holds one: something waits
	done    chan struct{}
	once    sync.Once
}

func newEventQueue() *eventQueue {
	q := &eventQueue{out: make(chan Event), wake: make(chan struct{}, 1), done: make(chan struct{})}
	go q.run() // ends with close
	return q
}

func (q *eventQueue) add(e Event) {
	q.mu.Lock()
	q.waiting = append(q.waiting, e)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *eventQueue) run() {
	defer close(q.out)
	for {
		select {
		case <-q.wake:
		case <-q.done:
			return
		}
		q.mu.Lock()
		batch := q.waiting
		q.waiting = nil
		q.mu.Unlock()
		for _, e := range batch {
			select {
			case q.out <- e:
			case <-q.done:
				return
			}
		}
	}
}

func (q *eventQueue) close() { q.once.Do(func() { close(q.done) }) }
