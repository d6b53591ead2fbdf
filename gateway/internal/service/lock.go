package service

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"kubus.dev/proto/statelog"
)

// Fences is the part of the state log that locks between gateways.
type Fences interface {
	AcquireFence(ctx context.Context, name, holder string, epoch uint64) (statelog.Fence, error)
}

const (
	fence = "service-allocation"
	// stale is when a holder that did not say anything counts as dead.
	stale = 30 * time.Second
	// renew is when a holder that is still busy says so.
	renew = 5 * time.Second
)

// lock lets one gateway at a time choose addresses and ports. It is taken before
// the first choice and given back when the write that uses it is in the log, so
// that the next holder's view, which is at least as far as its own taking of the
// lock, shows what was given out. Writes of one gateway share it.
type lock struct {
	fences Fences
	view   *statelog.View
	id     string

	mu    sync.Mutex // held while the fence changes hands: the others wait for it
	users int
	epoch uint64
	since time.Time
}

func newLock(fences Fences, view *statelog.View) *lock {
	return &lock{fences: fences, view: view, id: strconv.FormatUint(rand.Uint64(), 16)}
}

// enter waits until this gateway holds the lock. Each enter needs a leave.
func (l *lock) enter(ctx context.Context) error {
	if l.fences == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users > 0 && time.Since(l.since) < renew {
		l.users++
		return nil
	}
	for {
		now := l.view.Fence(fence)
		if l.free(now) {
			got, err := l.fences.AcquireFence(ctx, fence, l.holder(), now.Epoch)
			if err != nil {
				return fmt.Errorf("locking the allocation of addresses: %w", err)
			}
			if l.isMine(got) && got.Epoch != now.Epoch {
				l.users++
				l.epoch, l.since = got.Epoch, time.Now()
				return nil
			}
		}
		// Held for a few milliseconds as a rule.
		select {
		case <-time.After(2*time.Millisecond + rand.N(4*time.Millisecond)):
		case <-ctx.Done():
			return fmt.Errorf("locking the allocation of addresses: %w", ctx.Err())
		}
	}
}

// leave gives the lock back when nobody of this gateway uses it any more.
func (l *lock) leave(ctx context.Context) {
	if l.fences == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users--
	if l.users > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	// If this fails the lock is free for others once it is stale, for us at once.
	_, _ = l.fences.AcquireFence(ctx, fence, "", l.epoch)
}

func (l *lock) holder() string { return l.id + " " + strconv.FormatInt(time.Now().UnixMilli(), 10) }

func (l *lock) isMine(f statelog.Fence) bool { return strings.HasPrefix(f.Holder, l.id+" ") }

func (l *lock) free(f statelog.Fence) bool {
	_, text, held := strings.Cut(f.Holder, " ")
	if !held || l.isMine(f) {
		return true
	}
	at, err := strconv.ParseInt(text, 10, 64)
	return err != nil || time.Since(time.UnixMilli(at)) > stale
}
