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
	bytesMost    = 64 << 20 // of requests' messages
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
	bytes   map[string]int // of requests, by user
}

type who struct {
	user   string
	stream bool
}

func newLoad() *load { return &load{inHand: map[who]int{}, bytes: map[string]int{}} }

// begin takes one more of an identity in hand, whose message has so many bytes, or says
// why not. Who begins ends. One message is taken whatever its size.
func (l *load) begin(w who, size int) error {
	most := requestsMost
	if w.stream {
		most = streamsMost
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stopped:
		return apierrors.NewServiceUnavailable("this gateway is stopping")
	case l.inHand[w] >= most, l.bytes[w.user] > 0 && l.bytes[w.user]+size > bytesMost:
		return errTooMuch()
	}
	l.inHand[w]++
	l.add(w.user, size)
	l.wait.Add(1)
	return nil
}

func (l *load) add(user string, size int) {
	if l.bytes[user] += size; l.bytes[user] == 0 {
		delete(l.bytes, user)
	}
}

func (l *load) end(w who, size int) {
	l.mu.Lock()
	l.add(w.user, -size)
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
