package flow

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// crowd bounds what one user has in hand while others ask for something too. Fair queues
// decide who gets the next seat, but on a few CPUs that is not enough: who floods has
// all the other seats of the level, and each request of somebody else shares the CPUs
// and the commit with them. Who is alone may have all seats.
type crowd struct {
	most int // of one user, while it is not alone

	mu     sync.Mutex
	users  map[string]*member
	newest string             // who asked last
	at     map[bool]time.Time // true: when newest asked last; false: when somebody else did
}

type member struct {
	inHand  int
	waiting []chan struct{} // the oldest first; closed: it may go
	moved   time.Time       // when a request last began or ended
}

// stalled is how long nothing of a user's ends until one more may go: what is in hand may
// wait for it, as a write does whose webhook asks the API as the same user.
const stalled = 250 * time.Millisecond

// aloneAfter is how long nobody else has asked for anything when a user is alone.
const aloneAfter = time.Second

// waitingOfOne is how many requests of one user wait here.
const waitingOfOne = 1000

func newCrowd(most int) *crowd {
	return &crowd{most: most, users: map[string]*member{}, at: map[bool]time.Time{}}
}

// crowded says whether a user is one of those whom each other's requests may slow down:
// everybody but the cluster's own parts, which have priority levels of their own.
func crowded(u user.Info) bool {
	if strings.HasPrefix(u.GetName(), "system:kube-") || slices.Contains(u.GetGroups(), user.NodesGroup) {
		return false
	}
	ns, _, err := serviceaccount.SplitUsername(u.GetName())
	return err != nil || ns != "kube-system"
}

// try takes one more request of a user in hand if that need not wait. Who enters leaves.
func (c *crowd) try(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note(name)
	m := c.member(name)
	if len(m.waiting) > 0 || !c.mayHave(name, m) {
		return false
	}
	m.begin()
	return true
}

func (m *member) begin() {
	m.inHand++
	m.moved = time.Now()
}

// enter is try that waits until ctx ends.
func (c *crowd) enter(ctx context.Context, name string) error {
	if c.try(name) {
		return nil
	}
	c.mu.Lock()
	m := c.member(name)
	if m.inHand == 0 && len(m.waiting) == 0 { // all have ended meanwhile
		m.begin()
		c.mu.Unlock()
		return nil
	}
	if len(m.waiting) >= waitingOfOne {
		c.mu.Unlock()
		return errTooMany()
	}
	may := make(chan struct{})
	m.waiting = append(m.waiting, may)
	c.mu.Unlock()
	tick := time.NewTicker(stalled)
	defer tick.Stop()
	for {
		select {
		case <-may:
			return nil
		case <-tick.C:
			c.hurry(m, may)
			continue
		case <-ctx.Done():
		}
		break
	}
	c.mu.Lock()
	i := slices.Index(m.waiting, may)
	if i >= 0 {
		m.waiting = slices.Delete(m.waiting, i, i+1)
	}
	c.mu.Unlock()
	if i < 0 {
		c.leave(name) // it came at the same moment
	}
	return errTooMany()
}

// hurry lets a user's oldest waiting request go when nothing of its moves.
func (c *crowd) hurry(m *member, may chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(m.waiting) > 0 && m.waiting[0] == may && time.Since(m.moved) >= stalled {
		m.next()
	}
}

// next lets the oldest waiting request go. The caller holds the lock.
func (m *member) next() {
	m.begin()
	close(m.waiting[0])
	m.waiting = m.waiting[1:]
}

// again takes a request in hand that was before, in the middle of what it does.
func (c *crowd) again(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.member(name).begin()
}

// leave ends a request, and lets those go that the user may have in hand now.
func (c *crowd) leave(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.users[name]
	m.inHand--
	m.moved = time.Now()
	for len(m.waiting) > 0 && c.mayHave(name, m) {
		m.next()
	}
	if m.inHand == 0 && len(m.waiting) == 0 {
		delete(c.users, name)
	}
}

// member gives what is known of a user. The caller holds the lock.
func (c *crowd) member(name string) *member {
	m := c.users[name]
	if m == nil {
		m = &member{}
		c.users[name] = m
	}
	return m
}

// note notes who asks. The caller holds the lock.
func (c *crowd) note(name string) {
	if name != c.newest {
		c.newest, c.at[false] = name, c.at[true]
	}
	c.at[true] = time.Now()
}

// mayHave says whether a user may have one more in hand. One that has none always may.
func (c *crowd) mayHave(name string, m *member) bool {
	return m.inHand < c.most || time.Since(c.at[name != c.newest]) > aloneAfter
}
