package apiclient

import (
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// How much of one identity a gateway has in hand at a time. Its fairness decides who
// is served next; this bounds what waits for that decision, since a message on the
// bus costs its sender next to nothing and us a goroutine.
const (
	requestsMost = 1024
	streamsMost  = 4096
)

// retryAfter is how many seconds the refused should wait.
const retryAfter = 1

// tooMuch is what a refused tunnel says; OverBus makes a 429 of it.
const tooMuch = "too many requests of this user are in hand, please try again later"

func errTooMuch() error { return apierrors.NewTooManyRequests(tooMuch, retryAfter) }

// load counts what is in hand, by identity.
type load struct {
	wait sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	inHand  map[who]int
}

type who struct {
	user   string
	stream bool
}

func newLoad() *load { return &load{inHand: map[who]int{}} }

// begin takes one more of an identity in hand, or says why not. Who begins ends.
func (l *load) begin(w who) error {
	most := requestsMost
	if w.stream {
		most = streamsMost
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stopped:
		return apierrors.NewServiceUnavailable("this gateway is stopping")
	case l.inHand[w] >= most:
		return errTooMuch()
	}
	l.inHand[w]++
	l.wait.Add(1)
	return nil
}

func (l *load) end(w who) {
	l.mu.Lock()
	if l.inHand[w]--; l.inHand[w] == 0 {
		delete(l.inHand, w)
	}
	l.mu.Unlock()
	l.wait.Done()
}

// stop lets nothing more begin; wait.Wait may follow.
func (l *load) stop() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
}
