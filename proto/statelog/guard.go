package statelog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// guard brings the last good version of objects back into one stream, where somebody who
// is no gateway put something in its place or took it away. Every gateway has one; the
// first to write wins, and the others find that all is well.
type guard struct {
	log  *Log
	view *View
	wake chan struct{}

	mu     sync.Mutex
	keys   map[proto.Key]struct{} // to look at
	fences map[string]struct{}    // the same
	looks  int                    // at the stream itself, which somebody changed
}

// The server tells that a stream is changed or deleted a moment before it is: guards look
// once more after lookAgain.
const lookAgain = 500 * time.Millisecond

// keepWatch begins to guard the streams of a signed log until ctx ends.
func (l *Log) keepWatch(ctx context.Context) error {
	if l.views.trust.Keys == nil {
		return nil
	}
	for _, s := range proto.StateStreams() {
		view := l.views.Stream(s)
		g := &guard{log: l, view: view, wake: make(chan struct{}, 1), keys: map[proto.Key]struct{}{}, fences: map[string]struct{}{}}
		l.guards[s.Name] = g
		view.mu.Lock()
		view.beliefs.suspect = g.suspect
		view.mu.Unlock()
		for _, what := range []string{"UPDATED", "DELETED", "CREATED"} {
			sub, err := l.conn.Subscribe(proto.StreamAdvisory(what, s.Name), "", func(*bus.Msg) { g.changedStream() })
			if err != nil {
				return err
			}
			context.AfterFunc(ctx, sub.Stop)
		}
		go g.run(ctx)
	}
	return nil
}

// suspect has an object looked at.
func (l *Log) suspect(k proto.Key) {
	if g := l.guards[proto.StreamFor(k.GroupResource).Name]; g != nil {
		g.suspect(k)
	}
}

// suspectFence has a fence looked at.
func (l *Log) suspectFence(name string) {
	if g := l.guards[proto.StateStream.Name]; g != nil {
		g.suspectFence(name)
	}
}

func (g *guard) suspectFence(name string) {
	g.mu.Lock()
	g.fences[name] = struct{}{}
	g.mu.Unlock()
	g.signal()
}

func (g *guard) suspect(k proto.Key) {
	g.mu.Lock()
	g.keys[k] = struct{}{}
	g.mu.Unlock()
	g.signal()
}

func (g *guard) changedStream() {
	g.mu.Lock()
	g.looks = 2
	g.mu.Unlock()
	g.signal()
}

func (g *guard) signal() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *guard) run(ctx context.Context) {
	if g.view.Ready(ctx) != nil {
		return
	}
	for wait := time.Duration(0); ; {
		var again <-chan time.Time
		if wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		case <-again:
		}
		wait = g.work(ctx)
	}
}

// work looks at what there is to look at, and gives after what time to try again what could
// not be done; 0: there is nothing.
func (g *guard) work(ctx context.Context) (again time.Duration) {
	g.mu.Lock()
	keys, fences, look := g.keys, g.fences, g.looks > 0
	g.keys, g.fences, g.looks = map[proto.Key]struct{}{}, map[string]struct{}{}, max(0, g.looks-1)
	if g.looks > 0 {
		again = lookAgain
	}
	g.mu.Unlock()
	if look {
		if err := g.audit(ctx); err != nil && ctx.Err() == nil {
			g.view.log.Warn("looking at a stream that was changed", zap.Error(err))
			g.mu.Lock()
			g.looks = max(g.looks, 1)
			g.mu.Unlock()
			again = time.Second
		}
	}
	for name := range fences {
		if err := g.restoreFence(ctx, name); err != nil && ctx.Err() == nil {
			g.view.log.Warn("bringing a fence back", zap.String("fence", name), zap.Error(err))
			g.suspectFence(name)
			again = time.Second
		}
	}
	for key := range keys {
		if err := g.restore(ctx, key); err != nil && ctx.Err() == nil {
			g.view.log.Warn("bringing an object's last good version back", zap.Stringer("object", key), zap.Error(err))
			g.suspect(key)
			again = time.Second
		}
	}
	return again
}

// restore writes an object's last good version again where the log has something else.
func (g *guard) restore(ctx context.Context, key proto.Key) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		found, err := g.log.conn.LastOn(ctx, g.view.stream.Name, key.Subject())
		if err != nil {
			return err
		}
		var at uint64
		if found != nil {
			at = found.Seq
		}
		if err := g.view.WaitFor(ctx, at); err != nil {
			return err
		}
		live, _ := g.view.Last(key.GroupResource, key.Namespace, key.Name)
		if live == nil || live.revision >= at && found != nil {
			return nil // nothing to bring back, or it is there
		}
		if found != nil && g.view.shows(at) {
			continue // the view has moved on
		}
		w := Write{Key: key, Data: live.Data()}
		if g.view.expire > 0 {
			if w.TTL = (g.view.expire - time.Since(live.stored)).Truncate(time.Second); w.TTL <= 0 {
				return nil
			}
		}
		seq, err := g.log.conn.PublishStream(ctx, key.Subject(), w.Data, g.log.headerAt(g.view, w, at))
		switch {
		case err == nil:
			g.view.beliefs.found.restored.Add(1)
			g.view.log.Warn("an object's last good version is back", zap.Stringer("object", key), zap.Uint64("good", live.revision), zap.Uint64("instead_of", at), zap.Uint64("seq", seq))
			return g.view.WaitFor(ctx, seq)
		case !errors.Is(err, bus.ErrWrongSequence) && !errors.Is(err, bus.ErrBusy):
			return err
		}
	}
}

// headerAt is the signed header of a write that replaces a certain message, though it
// changes nothing.
func (l *Log) headerAt(view *View, w Write, at uint64) bus.Header {
	o := &op{Write: w, requestID: rand.Uint64() | 1}
	h := o.header(at)
	if !w.Delete {
		delete(h, proto.HeaderOperation) // the object was there before
	}
	view.keys().sign(w.Key.Subject(), h, view.Revision(), w.Data)
	return h
}

// restoreFence writes a fence again that the log has not any more. Its epoch is a new one
// then, so whoever holds it takes it anew.
func (g *guard) restoreFence(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	subject := proto.FenceSubject(name)
	found, err := g.log.conn.LastOn(ctx, g.view.stream.Name, subject)
	if err != nil {
		return err
	}
	if found != nil {
		return g.view.WaitFor(ctx, found.Seq) // be it refused: who takes or uses the fence knows
	}
	g.view.mu.Lock()
	f := g.view.fences[name]
	delete(g.view.beliefs.standing, subject)
	g.view.mu.Unlock()
	if f.Epoch == 0 {
		return nil
	}
	seq, err := g.log.putFence(ctx, g.view, name, f.Holder, 0)
	if errors.Is(err, bus.ErrWrongSequence) {
		return nil // somebody took it
	}
	if err != nil {
		return err
	}
	g.view.beliefs.found.restored.Add(1)
	return g.view.WaitFor(ctx, seq)
}

// beyond is by how much the sequences of a stream that is made again are ahead of what a
// gateway has seen: another may have seen more.
const beyond = 1 << 20

// audit puts right what can be of a stream that somebody changed: its settings, objects and
// fences that are missing, and the stream itself where it was deleted: its sequences go on.
// A stream that was made anew is told of and left as it is: it may be a backup.
func (g *guard) audit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	name := g.view.stream.Name
	state, err := g.log.conn.StreamState(ctx, name)
	if errors.Is(err, bus.ErrNoStream) {
		g.view.beliefs.found.replaced.Add(1)
		g.view.log.Error("the stream was deleted; it is made again, with everything that is known of it", zap.Uint64("seen", g.view.Revision()))
		if err = g.log.conn.BeginStream(ctx, g.view.stream, g.log.replicas, g.view.Revision()+beyond); err == nil {
			// As in begin: so that readers who ask for the log's end are answered.
			if _, err = g.log.conn.PublishStream(ctx, proto.BarrierSubject(name, g.log.writer), nil, nil); err == nil {
				state, err = g.log.conn.StreamState(ctx, name)
			}
		}
	}
	if err != nil {
		return err
	}
	if state.LastSeq < g.view.Revision() {
		g.view.beliefs.found.replaced.Add(1)
		g.view.log.Error("the stream was made anew by somebody else: stop the gateways and restore it from a backup", zap.Uint64("last", state.LastSeq), zap.Uint64("seen", g.view.Revision()))
		return nil
	}
	if _, err := g.log.conn.EnsureStream(ctx, g.view.stream, g.log.replicas); err != nil {
		return err
	}
	subjects, err := g.log.conn.Subjects(ctx, name, ">")
	if err != nil {
		return err
	}
	for _, gr := range g.view.Resources() {
		g.view.Snapshot(gr).Ascend("", func(e *Entry) bool {
			if _, there := subjects[e.key.Subject()]; !there {
				g.suspect(e.key)
			}
			return true
		})
	}
	g.view.mu.Lock()
	defer g.view.mu.Unlock()
	for name := range g.view.fences {
		if _, there := subjects[proto.FenceSubject(name)]; !there {
			g.suspectFence(name)
		}
	}
	return nil
}

// renewAtOnce is how many messages Renew writes together.
const renewAtOnce = 200

// Renew signs what nobody signed (Trust.Adopt), or signed under a key that is not the first
// any more, and ends the adoption. The views must be ready, and no other gateway of an
// older release may write. It gives how many messages it wrote.
func (l *Log) Renew(ctx context.Context) (int, error) {
	done := 0
	for _, g := range l.guards {
		b := &g.view.beliefs
		for {
			g.view.mu.Lock()
			todo := b.renew
			if b.renew = nil; len(todo) == 0 {
				b.Adopt = false
			}
			g.view.mu.Unlock()
			if len(todo) == 0 {
				break
			}
			for len(todo) > 0 {
				n := min(renewAtOnce, len(todo))
				wrote, err := g.renew(ctx, todo[:n])
				if done += wrote; err != nil {
					return done, fmt.Errorf("signing the log: %w", err)
				}
				todo = todo[n:]
			}
		}
	}
	return done, nil
}

// renew writes versions again, those that are still the newest.
func (g *guard) renew(ctx context.Context, found []*bus.StreamMsg) (int, error) {
	var batch []bus.BatchMsg
	for _, m := range found {
		key, err := proto.ParseStateSubject(m.Subject)
		if err != nil {
			continue // a fence: whoever holds it takes it anew
		}
		live, last := g.view.Last(key.GroupResource, key.Namespace, key.Name)
		w := Write{Key: key, Data: m.Data, Delete: live == nil}
		if last != m.Seq {
			continue
		}
		if g.view.expire > 0 && live != nil {
			if w.TTL = (g.view.expire - time.Since(m.Time)).Truncate(time.Second); w.TTL <= 0 {
				continue
			}
		}
		batch = append(batch, bus.BatchMsg{Subject: m.Subject, Header: g.log.headerAt(g.view, w, m.Seq), Data: m.Data})
	}
	if len(batch) == 0 {
		return 0, nil
	}
	last, err := g.log.conn.PublishBatch(ctx, strconv.FormatUint(rand.Uint64(), 36), batch, presentWithin)
	if err == nil {
		return len(batch), g.view.WaitFor(ctx, last)
	}
	// One of them has expired, or was changed: each by itself.
	wrote := 0
	for _, m := range batch {
		seq, err := g.log.conn.PublishStream(ctx, m.Subject, m.Data, unbatched(m.Header))
		switch {
		case err == nil:
			wrote++
			if err := g.view.WaitFor(ctx, seq); err != nil {
				return wrote, err
			}
		case !errors.Is(err, bus.ErrWrongSequence):
			return wrote, err
		}
	}
	return wrote, nil
}

// unbatched is the header of a message that was to be in a batch, without what that added.
func unbatched(h bus.Header) bus.Header {
	out := bus.Header{}
	for name, values := range h {
		if name != bus.HeaderBatchID && name != bus.HeaderBatchSequence && name != bus.HeaderBatchCommit {
			out[name] = values
		}
	}
	return out
}
