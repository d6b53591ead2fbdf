package statelog

import (
	"context"
	"errors"
	"sync"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// Group makes the writes of several requests one atomic commit. Each of its
// parties runs with a context of WithGroup, commits at most once, and calls Leave
// when it is done; when every party has either a write waiting or left, the
// writes are committed together. A party that leaves with an error fails all.
type Group struct {
	mu      sync.Mutex
	parties int
	ops     []*op
	log     *Log
	failed  bool
}

// NewGroup makes a group of n parties.
func NewGroup(n int) *Group { return &Group{parties: n} }

type groupKey struct{}

// WithGroup makes the context of one party.
func WithGroup(ctx context.Context, g *Group) context.Context {
	return context.WithValue(ctx, groupKey{}, g)
}

func groupFrom(ctx context.Context) *Group {
	g, _ := ctx.Value(groupKey{}).(*Group)
	return g
}

// Leave says that a party is done; failed that it could not do its part.
func (g *Group) Leave(failed bool) {
	g.mu.Lock()
	g.parties--
	g.failed = g.failed || failed
	ready := g.readyLocked()
	g.mu.Unlock()
	if ready != nil {
		g.run(ready)
	}
}

func (g *Group) commit(ctx context.Context, l *Log, w Write) (uint64, error) {
	o := l.newOp(ctx, w)
	g.mu.Lock()
	for _, other := range g.ops {
		if other.subject == o.subject {
			g.failed = true
		}
	}
	g.log = l
	g.ops = append(g.ops, o)
	ready := g.readyLocked()
	g.mu.Unlock()
	if ready != nil {
		g.run(ready)
	}
	return o.wait(ctx)
}

// readyLocked takes the waiting writes when no other party can add to them.
func (g *Group) readyLocked() []*op {
	if len(g.ops) == 0 || len(g.ops) < g.parties {
		return nil
	}
	ops := g.ops
	g.ops = nil
	if g.failed {
		for _, o := range ops {
			o.finish(0, ErrAborted)
		}
		return nil
	}
	return ops
}

func (g *Group) run(ops []*op) {
	ops = flatten(ops)
	stream := proto.StreamFor(ops[0].Key.GroupResource).Name
	c := g.log.committers[stream]
	var err error
	for _, o := range ops {
		if proto.StreamFor(o.Key.GroupResource).Name != stream {
			err = errors.New("an atomic group cannot span streams: " + stream + " and that of " + o.Key.String())
		} else if e := c.precheck(o); e != nil && err == nil {
			err = e
		}
	}
	if err == nil {
		err = c.batch(context.Background(), ops)
	}
	if err == nil {
		return
	}
	var conflict *ConflictError
	switch {
	case errors.Is(err, bus.ErrWrongSequence):
		if now := c.atFault(ops); now != nil {
			err = now
			break
		}
		err = unavailable(err)
	case errors.Is(err, bus.ErrBusy), errors.Is(err, bus.ErrUnknownOutcome), errors.Is(err, bus.ErrUnavailable):
		err = unavailable(err)
	}
	for _, o := range ops {
		if errors.As(err, &conflict) && conflict.Key != o.Key {
			o.finish(0, ErrAborted)
		} else {
			o.finish(0, err)
		}
	}
}

// atFault gives the conflict for which the log refused writes, as the view sees it when it is
// as new as the refusal.
func (c *committer) atFault(ops []*op) error {
	if err := c.present(context.Background()); err != nil {
		return unavailable(err)
	}
	for _, o := range ops {
		if err := c.precheck(o); err != nil {
			return err
		}
	}
	return nil
}
