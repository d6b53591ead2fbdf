package read

import (
	"context"
	"sync/atomic"
	"time"
)

// budget bounds what all watches together gather before they write it. A watch whose
// client does not read holds what it gathered until it is cut off.
type budget struct {
	most int64
	used atomic.Int64
}

// watchMemory is the budget of a gateway.
const watchMemory = 64 << 20

// take gives n bytes, or none.
func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) <= b.most {
		return true
	}
	b.used.Add(-int64(n))
	return false
}

func (b *budget) give(n int) { b.used.Add(-int64(n)) }

// wait gives n bytes once they are there, or false when ctx ends before. More than the
// budget is given as soon as nobody else has any.
func (b *budget) wait(ctx context.Context, n int) bool {
	for !b.take(n) {
		if b.used.CompareAndSwap(0, int64(n)) {
			return true
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return false
		}
	}
	return true
}
