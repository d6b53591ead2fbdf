package flow

import (
	"context"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// lane has costly requests take turns: few are served at a time, and the users who wait
// are served one after another, however many requests each has waiting. Seats alone do
// not do that: the library gives a costly request at most 15 % of its level's seats, so
// that on a machine of few CPUs a dozen of them keep every CPU from everybody else.
type lane struct {
	width int // how many are served at a time

	mu      sync.Mutex
	busy    int
	users   []string                   // who wait, the next one first
	waiting map[string][]chan struct{} // of each, the oldest first; closed: it may go
}

func newLane(width int) *lane { return &lane{width: width, waiting: map[string][]chan struct{}{}} }

// waitingMost is how many requests of one user wait.
const waitingMost = 100

// enter waits for a turn until ctx ends. Who enters leaves.
func (l *lane) enter(ctx context.Context, user string, most int) error {
	l.mu.Lock()
	if l.busy < l.width {
		l.busy++
		l.mu.Unlock()
		return nil
	}
	own := l.waiting[user]
	if most > 0 && len(own) >= most {
		l.mu.Unlock()
		return errTooMany()
	}
	if len(own) == 0 {
		l.users = append(l.users, user)
	}
	may := make(chan struct{})
	l.waiting[user] = append(own, may)
	l.mu.Unlock()
	select {
	case <-may:
		return nil
	case <-ctx.Done():
		l.abandon(user, may)
		return errTooMany()
	}
}

// abandon gives a turn up, whether it has come or not.
func (l *lane) abandon(user string, may chan struct{}) {
	l.mu.Lock()
	own := l.waiting[user]
	i := slices.Index(own, may)
	if i >= 0 {
		l.keep(user, slices.Delete(own, i, i+1))
	}
	l.mu.Unlock()
	if i < 0 {
		l.leave() // it came at the same moment
	}
}

// leave lets the next user's oldest request go.
func (l *lane) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.users) == 0 {
		l.busy--
		return
	}
	user := l.users[0]
	own := l.waiting[user]
	l.users = append(l.users[1:], user) // behind the others, where it has more
	l.keep(user, own[1:])
	close(own[0])
}

// keep notes what a user has waiting. The caller holds the lock.
func (l *lane) keep(user string, own []chan struct{}) {
	if len(own) > 0 {
		l.waiting[user] = own
		return
	}
	delete(l.waiting, user)
	if i := slices.Index(l.users, user); i >= 0 {
		l.users = slices.Delete(l.users, i, i+1)
	}
}

// tooMany is upstream's text.
const tooMany = "Too many requests, please try again later."

func errTooMany() error { return apierrors.NewTooManyRequests(tooMany, 1) }
