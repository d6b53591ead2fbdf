package tunnel

import "sync"

// Quota bounds how many tunnels each peer has open at a time, so that none takes what
// the others need. Safe for concurrent use.
type Quota struct {
	most int

	mu   sync.Mutex
	open map[string]int
}

// NewQuota lets each peer have that many.
func NewQuota(most int) *Quota { return &Quota{most: most, open: map[string]int{}} }

// take counts one more tunnel of the peer, unless it has them all.
func (q *Quota) take(peer string) bool {
	if q == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open[peer] >= q.most {
		return false
	}
	q.open[peer]++
	return true
}

func (q *Quota) give(peer string) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open[peer]--; q.open[peer] == 0 {
		delete(q.open, peer)
	}
}
