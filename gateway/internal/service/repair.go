package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Repair makes claims and Services agree until ctx ends: a Service without its
// claim gets it, a claim whose Service never came is released. Every gateway may
// run it; the log decides between them. It gives ctx's error.
func (h *Hooks) Repair(ctx context.Context) error {
	if err := h.view.Ready(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return follow(ctx, h.view, services, h.serviceChanged) })
	group.Go(func() error { return follow(ctx, h.view, addresses, h.claimChanged) })
	group.Go(func() error { return follow(ctx, h.view, ports, h.claimChanged) })
	group.Go(func() error { return h.suspects.run(ctx, h.check) })
	return group.Wait()
}

// follow tells of every object there is, then of every change, with the version
// before. When it falls behind it begins again.
func follow(ctx context.Context, view *statelog.View, gr proto.GroupResource, changed func(prev, next *statelog.Entry)) error {
	return statelog.Changes(ctx, view, gr, func(snapshot statelog.Snapshot) {
		snapshot.Ascend("", func(e *statelog.Entry) bool {
			changed(nil, e)
			return true
		})
	}, func(events []statelog.Event) {
		for _, ev := range events {
			if ev.Type == statelog.Deleted {
				changed(ev.Prev, nil)
			} else {
				changed(ev.Prev, ev.Entry)
			}
		}
	})
}

// serviceChanged suspects what a Service holds without a claim, and what it held
// and is still claimed.
func (h *Hooks) serviceChanged(prev, next *statelog.Entry) {
	if next != nil {
		for _, k := range heldBy(next) {
			if h.view.Get(k.GroupResource, "", k.Name) == nil {
				h.suspects.add(k, 0)
			} else {
				h.suspects.drop(k)
			}
		}
	}
	if prev != nil {
		for _, k := range heldBy(prev) {
			if h.view.Get(k.GroupResource, "", k.Name) != nil && h.pool.holder(k) == nil {
				h.suspects.add(k, h.o.Grace)
			}
		}
	}
}

// claimChanged suspects a claim whose Service does not hold it, and one that went
// while its Service does.
func (h *Hooks) claimChanged(prev, next *statelog.Entry) {
	switch {
	case next == nil && h.pool.holder(prev.Key()) != nil:
		h.suspects.add(prev.Key(), 0)
	case next == nil:
		h.suspects.drop(prev.Key())
	default:
		if parent, ours, ok := parentOf(next); ok && ours && !h.pool.holds(parent, next.Key()) {
			h.suspects.add(next.Key(), h.o.Grace)
		}
	}
}

// check looks at one address or port anew and mends what is wrong with it.
func (h *Hooks) check(ctx context.Context, key proto.Key) error {
	if _, err := h.log.Barrier(ctx, services); err != nil {
		return err
	}
	record, holder := h.view.Get(key.GroupResource, "", key.Name), h.pool.holder(key)
	switch {
	case record == nil && holder == nil:
		return nil
	case record == nil:
		h.o.Logger.Info("claiming what a Service holds", zap.Stringer("key", key), zap.Stringer("service", holder.Key()))
		write, err := newClaim(key).write(holder.Key())
		if err == nil {
			_, err = h.log.Commit(ctx, write)
		}
		return unlessLost(err)
	}
	parent, ours, ok := parentOf(record)
	switch {
	case ok && h.pool.holds(parent, key):
		return nil
	case holder != nil:
		h.o.Logger.Warn("a Service holds what is claimed for another", zap.Stringer("key", key), zap.Stringer("service", holder.Key()))
		return nil
	case !ok || !ours:
		return nil
	}
	h.o.Logger.Info("releasing a claim whose Service did not come", zap.Stringer("key", key), zap.Stringer("service", parent))
	_, err := h.takeAway(ctx, statelog.Write{Key: key, Expect: record.Revision(), Data: record.Data(), Delete: true}, parent)
	return unlessLost(err)
}

// unlessLost: who loses a race finds the matter settled, or comes back to it.
func unlessLost(err error) error {
	var lost *statelog.ConflictError
	if errors.As(err, &lost) {
		return nil
	}
	return err
}

// RemoveAddress commits the deletion of an IPAddress. One that is claimed for a
// Service that does not hold it (yet) goes together with that Service's chance to.
func (h *Hooks) RemoveAddress(ctx context.Context, w statelog.Write) (uint64, error) {
	e := h.view.Get(w.Key.GroupResource, "", w.Key.Name)
	if e == nil || e.Revision() != w.Expect {
		return h.log.Commit(ctx, w)
	}
	parent, _, ok := parentOf(e)
	if !ok || h.pool.holds(parent, w.Key) {
		return h.log.Commit(ctx, w)
	}
	for {
		revision, err := h.takeAway(ctx, w, parent)
		var lost *statelog.ConflictError
		if !errors.As(err, &lost) || lost.Key != parent || ctx.Err() != nil {
			return revision, err
		}
	}
}

// takeAway commits the deletion of a claim and, in the same batch, a new message of
// its Service: whoever is about to write the Service with it rests on the one
// before and is refused. A Service that lives keeps its content.
func (h *Hooks) takeAway(ctx context.Context, w statelog.Write, parent proto.Key) (uint64, error) {
	live, since := h.view.Last(services, parent.Namespace, parent.Name)
	touch := statelog.Write{Key: parent, Strict: true, Since: since, Delete: true}
	if live != nil {
		touch = statelog.Write{Key: parent, Expect: live.Revision(), Data: live.Data()}
	} else if data, err := json.Marshal(map[string]any{"metadata": metav1.ObjectMeta{Namespace: parent.Namespace, Name: parent.Name}}); err == nil {
		touch.Data = data
	} else {
		return 0, fmt.Errorf("releasing %s: %w", w.Key, err)
	}
	group := statelog.NewGroup(2)
	ctx = statelog.WithGroup(statelog.WithFence(ctx, statelog.FenceEpoch{}), group)
	writes, revisions, errs := []statelog.Write{w, touch}, make([]uint64, 2), make([]error, 2)
	each(2, func(i int) { revisions[i], errs[i] = h.log.Commit(ctx, writes[i]) })
	for _, err := range errs {
		if err != nil && !errors.Is(err, statelog.ErrAborted) {
			return 0, err
		}
	}
	return revisions[0], errors.Join(errs...)
}

// suspects are the addresses and ports to look at, and when.
type suspects struct {
	wake chan struct{}

	mu    sync.Mutex
	due   map[proto.Key]time.Time
	until time.Time // run sleeps so long; zero: until it is woken
}

func newSuspects() *suspects {
	return &suspects{wake: make(chan struct{}, 1), due: map[proto.Key]time.Time{}}
}

// add names a suspect; one that is known is looked at when first said, or sooner.
func (s *suspects) add(key proto.Key, after time.Duration) {
	at := time.Now().Add(after)
	s.mu.Lock()
	defer s.mu.Unlock()
	if have, ok := s.due[key]; ok && !at.Before(have) {
		return
	}
	s.due[key] = at
	if s.until.IsZero() || at.Before(s.until) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// drop forgets a suspect that explained itself.
func (s *suspects) drop(key proto.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.due, key)
}

// next takes a suspect that is due, or says how long there will be none; -1: until
// one is added.
func (s *suspects) next(now time.Time) (key proto.Key, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Time{}
	for k, at := range s.due {
		if !at.After(now) {
			delete(s.due, k)
			return k, 0
		}
		if s.until.IsZero() || at.Before(s.until) {
			s.until = at
		}
	}
	if s.until.IsZero() {
		return key, -1
	}
	return key, s.until.Sub(now)
}

// again is when a check that failed is repeated.
const again = time.Second

func (s *suspects) run(ctx context.Context, check func(context.Context, proto.Key) error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		key, wait := s.next(time.Now())
		if wait == 0 {
			if err := check(ctx, key); err != nil {
				s.add(key, again)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		timer.Stop()
		if wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-timer.C:
		}
	}
}
