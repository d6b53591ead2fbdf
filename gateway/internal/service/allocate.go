package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// draft is one attempt at a Service: what it is to get, reserved in this process.
type draft struct {
	pool *pool
	keys []proto.Key
	// doubt says that something was not to be had as far as the view shows.
	doubt bool
}

func (d *draft) take(key proto.Key) bool {
	if !d.pool.take(key) {
		d.doubt = true
		return false
	}
	d.keys = append(d.keys, key)
	return true
}

func (d *draft) end() { d.pool.giveBack(d.keys) }

// allocate lets choose complete the Service and reserve what it gets. A refusal is
// believed only of a view that is behind nobody. The caller ends the draft.
func (h *Hooks) allocate(ctx context.Context, svc *core.Service, choose func(*core.Service, *draft) error) (*draft, error) {
	for sure := false; ; sure = true {
		next, d := svc.DeepCopy(), &draft{pool: h.pool}
		err := choose(next, d)
		if err == nil {
			*svc = *next
			return d, nil
		}
		d.end()
		if !d.doubt || sure {
			return nil, err
		}
		if _, err := h.log.Barrier(ctx, services); err != nil {
			return nil, apierrors.NewServiceUnavailable("allocating addresses and ports: " + err.Error())
		}
	}
}

// begin makes the claims of a draft, to be written with the Service, and what
// follows the write: after is called when it succeeded.
func (h *Hooks) begin(ctx context.Context, self proto.Key, d *draft, after func()) ([]statelog.Write, func(error), error) {
	writes, claims := make([]statelog.Write, len(d.keys)), make([]claim, len(d.keys))
	for i, key := range d.keys {
		claims[i] = newClaim(key)
		var err error
		if writes[i], err = claims[i].write(self); err != nil {
			d.end()
			return nil, nil, apierrors.NewInternalError(err)
		}
	}
	return writes, func(err error) {
		d.end() // the log shows them, or nobody has them
		switch {
		case err == nil:
			after()
		case refused(err):
			h.release(ctx, self, claims)
		}
	}, nil
}

// claimsOf finds the claims that a Service has on keys, and that are older than a
// revision.
func (h *Hooks) claimsOf(parent proto.Key, keys []proto.Key, before uint64) []claim {
	var out []claim
	for _, k := range keys {
		if e := h.view.Get(k.GroupResource, "", k.Name); e != nil && e.Revision() < before {
			if of, _, ok := parentOf(e); ok && of == parent {
				out = append(out, claim{k, types.UID(e.Meta().UID)})
			}
		}
	}
	return out
}

func without(claims []claim, keys []proto.Key) []claim {
	kept := map[proto.Key]bool{}
	for _, k := range keys {
		kept[k] = true
	}
	var out []claim
	for _, c := range claims {
		if !kept[c.key] {
			out = append(out, c)
		}
	}
	return out
}

// releaseTimeout bounds what a request does after its write.
const releaseTimeout = 5 * time.Second

// release takes claims away that their Service neither holds nor will. What fails
// is Repair's.
func (h *Hooks) release(ctx context.Context, parent proto.Key, claims []claim) {
	if len(claims) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(alone(context.WithoutCancel(ctx)), releaseTimeout)
	defer cancel()
	each(len(claims), func(i int) {
		c := claims[i]
		e := h.view.Get(c.key.GroupResource, "", c.key.Name)
		if e == nil || e.Meta().UID != string(c.uid) || h.pool.holds(parent, c.key) {
			return
		}
		_, err := h.log.Commit(ctx, statelog.Write{Key: c.key, Expect: e.Revision(), Data: e.Data(), Delete: true})
		var lost *statelog.ConflictError
		if err != nil && !errors.As(err, &lost) {
			h.o.Logger.Warn("releasing a claim", zap.Stringer("key", c.key), zap.Error(err))
		}
	})
}

// alone is a context whose writes are their own, not of a request's group or fence.
func alone(ctx context.Context) context.Context {
	return statelog.WithFence(statelog.WithGroup(ctx, nil), statelog.FenceEpoch{})
}

// each runs the first of n calls here and the others beside it: their commits go
// together.
func each(n int, call func(i int)) {
	var wait sync.WaitGroup
	for i := 1; i < n; i++ {
		wait.Go(func() { call(i) })
	}
	if n > 0 {
		call(0)
	}
	wait.Wait()
}
