package statelog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// On one server every message is one fsync and an atomic batch costs about as
// much as six of them, whatever it holds: few waiting writes go singly, many
// together, one commit after the other so that writes gather meanwhile. A cluster
// groups concurrent publishes by itself and wants many under way.
const (
	batchFrom      = 6
	batchMost      = 500
	clusterFlushes = 32 // a server takes 50 batches of a stream at a time
	// answerWithin is after what time a write without an answer is looked for in the log. To
	// look too early costs a question: the write is sent again under the same expectation.
	answerWithin = 3 * time.Second
	// presentWithin is for how long the log is asked what became of writes, and views may lag.
	presentWithin = 10 * time.Second
	busyRetries   = 40
	// atomicMost is how many messages the server takes in one batch.
	atomicMost = 1000
)

// committer commits the writes of one stream.
type committer struct {
	log  *Log
	view *View
	wake chan struct{}
	slot chan struct{}

	mu      sync.Mutex
	stopped bool
	waiting []*op
	flying  map[string]bool // subjects with a write under way
}

func newCommitter(ctx context.Context, l *Log, view *View) *committer {
	flushes := 1
	if l.replicas > 1 {
		flushes = clusterFlushes
	}
	c := &committer{log: l, view: view, wake: make(chan struct{}, 1), slot: make(chan struct{}, flushes), flying: map[string]bool{}}
	go c.run(ctx)
	return c
}

func (c *committer) submit(o *op) {
	c.mu.Lock()
	stopped := c.stopped
	if !stopped {
		c.waiting = append(c.waiting, o)
	}
	c.mu.Unlock()
	if stopped {
		o.finish(0, unavailable(errStopped))
		return
	}
	c.signal()
}

// stop answers what waits and what comes: nothing of it was sent.
func (c *committer) stop() {
	c.mu.Lock()
	c.stopped = true
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, o := range waiting {
		o.finish(0, unavailable(errStopped))
	}
}

func (c *committer) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run commits until ctx ends. A commit under way then still gets its answer, as long
// as the connection lives; the others are answered by stop.
func (c *committer) run(ctx context.Context) {
	defer c.stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		for {
			select {
			case <-ctx.Done():
				return
			case c.slot <- struct{}{}:
			}
			ops := c.take()
			if len(ops) == 0 {
				<-c.slot
				break
			}
			go func() {
				c.flush(context.WithoutCancel(ctx), ops)
				late := c.land(ops)
				<-c.slot
				c.signal()
				for _, o := range late {
					go func() { // ends with the write
						<-o.done
						c.land([]*op{o})
						c.signal()
					}()
				}
			}()
		}
	}
}

// take picks waiting writes of distinct objects that are not under way already,
// all under one fence.
func (c *committer) take() []*op {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ops []*op
	count := 0
	rest := c.waiting[:0]
	for _, o := range c.waiting {
		size := 1 + len(o.first)
		if count > 0 && (count+size > batchMost || ops[0].fence != o.fence) || c.fliesLocked(o) {
			rest = append(rest, o)
			continue
		}
		for _, each := range o.first {
			c.flying[each.subject] = true
		}
		c.flying[o.subject] = true
		ops = append(ops, o)
		count += size
	}
	clear(c.waiting[len(rest):])
	c.waiting = rest
	return ops
}

func (c *committer) fliesLocked(o *op) bool {
	for _, each := range o.first {
		if c.flying[each.subject] {
			return true
		}
	}
	return c.flying[o.subject]
}

// land lets others write what finished writes wrote, and gives those that are not finished.
func (c *committer) land(ops []*op) (late []*op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range ops {
		select {
		case <-o.done:
		default:
			late = append(late, o)
			continue
		}
		for _, each := range o.first {
			delete(c.flying, each.subject)
		}
		delete(c.flying, o.subject)
	}
	return late
}

// flush commits independent writes: the fate of one never is another's.
func (c *committer) flush(ctx context.Context, ops []*op) {
	ready := ops[:0:0]
	for _, o := range ops {
		if err := c.precheckAll(o); err != nil {
			o.finish(0, err)
			continue
		}
		ready = append(ready, o)
	}
	if len(ready) == 0 {
		return
	}
	if ready[0].fence != (FenceEpoch{}) {
		c.fenced(ctx, ready)
		return
	}
	all := flatten(ready)
	var why error
	if len(all) >= batchFrom && c.log.replicas == 1 {
		if why = c.batch(ctx, all); why == nil {
			return
		}
	}
	// Few, or one of them is at fault, or the outcome is unknown: each settles its own.
	c.inTurn(ctx, ready, why)
}

// fenced commits writes together with the check of their fence. Where the log has another
// version of one of them, the rest is committed without it.
func (c *committer) fenced(ctx context.Context, ops []*op) {
	all := flatten(ops)
	err := c.batch(ctx, all)
	for try := 0; errors.Is(err, bus.ErrBusy) && try < busyRetries; try++ {
		pause()
		err = c.batch(ctx, all)
	}
	if errors.Is(err, bus.ErrWrongSequence) {
		c.without(ctx, ops, err)
		return
	}
	for _, o := range ops {
		switch {
		case err == nil: // it was answered
		case errors.Is(err, ErrFenced):
			o.finish(0, err)
		default:
			o.finish(0, unavailable(err))
		}
	}
}

// without commits those of the writes that are not at fault for the refusal of all. The
// view is as new as the refusal, and shows most that are; others are found by halving.
func (c *committer) without(ctx context.Context, ops []*op, refusal error) {
	var ready []*op
	for _, o := range ops {
		if err := c.precheckAll(o); err != nil {
			o.finish(0, err)
			continue
		}
		ready = append(ready, o)
	}
	switch half := len(ready) / 2; {
	case len(ready) == 0:
	case len(ready) < len(ops):
		c.fenced(ctx, ready)
	case len(ready) == 1:
		c.settleFenced(ctx, ready[0], refusal)
	case !c.fenceStands(ctx, ready[0].fence):
		for _, o := range ready {
			o.finish(0, unavailable(refusal))
		}
	default:
		c.fenced(ctx, ready[:half])
		c.fenced(ctx, ready[half:])
	}
}

// fenceStands tells whether the log has a fence where the view has it. Where it does not,
// somebody else wrote there, and the guard puts it right.
func (c *committer) fenceStands(ctx context.Context, f FenceEpoch) bool {
	found, err := c.log.conn.LastOn(ctx, c.view.stream.Name, proto.FenceSubject(f.Name))
	if err == nil && found != nil && found.Seq == c.view.fenceAt(f.Name, f.Epoch) {
		return true
	}
	c.log.suspectFence(f.Name)
	return false
}

// settleFenced decides on a write that the log refuses though the view agrees with it: the
// store has forgotten a tombstone that we remember, or has what the view does not believe.
func (c *committer) settleFenced(ctx context.Context, o *op, err error) {
	for range busyRetries {
		for _, each := range append(o.first[:len(o.first):len(o.first)], o) {
			c.doubt(each)
		}
		c.log.suspectFence(o.fence.Name)
		pause()
		if err = c.precheckAll(o); err == nil {
			err = c.batch(ctx, flatten([]*op{o}))
		}
		switch {
		case err == nil:
			return
		case errors.Is(err, bus.ErrWrongSequence), errors.Is(err, bus.ErrBusy):
			continue
		}
		break
	}
	var conflict *ConflictError
	if !errors.As(err, &conflict) && !errors.Is(err, ErrFenced) {
		err = unavailable(err)
	}
	o.finish(0, err)
}

// doubt has what the view knows of an object looked at again, since the log does not agree.
func (c *committer) doubt(o *op) {
	live, last := c.view.Last(o.Key.GroupResource, o.Key.Namespace, o.Key.Name)
	if live == nil && last != 0 && o.Expect == 0 && !o.Strict {
		c.view.collection(o.Key.GroupResource).forgetTomb(o.Key.Namespace, o.Key.Name, last)
	}
	c.view.forgetStanding(o.subject, c.expectation(o))
	c.log.suspect(o.Key)
}

// pause is for a moment in which what is in the way passes.
func pause() { time.Sleep(time.Millisecond * time.Duration(1+rand.IntN(4))) }

// inTurn commits each by itself, after what comes before it. why is what became of a batch
// of all of them, nil where there was none.
func (c *committer) inTurn(ctx context.Context, ops []*op, why error) {
	var before []*op
	for _, o := range ops {
		before = append(before, o.first...)
	}
	c.singles(ctx, before, why)
	wait(before)
	ready := ops[:0:0]
	for _, o := range ops {
		if err := firstError(o.first); err != nil {
			o.finish(0, err)
			continue
		}
		ready = append(ready, o)
	}
	c.singles(ctx, ready, why)
}

// wait returns when all are finished.
func wait(ops []*op) {
	for _, o := range ops {
		<-o.done
	}
}

// firstError gives the error of finished writes; one that leaves an outcome open
// before one that does not.
func firstError(ops []*op) (err error) {
	for _, o := range ops {
		var conflict *ConflictError
		if o.err != nil && (err == nil || !errors.As(o.err, &conflict)) {
			err = o.err
		}
	}
	return err
}

func (c *committer) precheckAll(o *op) error {
	for _, each := range o.first {
		if err := c.precheck(each); err != nil {
			return err
		}
	}
	return c.precheck(o)
}

// precheck refuses what cannot succeed: revisions only grow, so a view that is
// ahead of the expectation is proof.
func (c *committer) precheck(o *op) error {
	live, last := c.view.Last(o.Key.GroupResource, o.Key.Namespace, o.Key.Name)
	if live != nil && live.revision > o.Expect || live == nil && o.Expect != 0 && last > o.Expect || o.strictNew() && last > o.Since {
		return &ConflictError{Key: o.Key, Expect: o.Expect, Current: live}
	}
	return nil
}

// expectation is the sequence that the subject must be at: that of the live
// version, or of the tombstone that a create replaces.
func (c *committer) expectation(o *op) uint64 {
	if o.Expect != 0 {
		return c.view.stands(o.subject, o.Expect)
	}
	if o.Strict {
		return c.view.stands(o.subject, o.Since)
	}
	live, last := c.view.Last(o.Key.GroupResource, o.Key.Namespace, o.Key.Name)
	if live != nil {
		return 0
	}
	return c.view.stands(o.subject, last)
}

// header is the op's, signed where the log is.
func (c *committer) header(o *op, expect uint64) bus.Header {
	h := o.header(expect)
	if keys := c.view.keys(); keys != nil {
		keys.sign(o.subject, h, c.view.Revision(), o.Data)
	}
	return h
}

// gather is for how long the answers to a flush are waited for in turn. The rest then comes
// when it comes, and what waits behind it need not.
const gather = 50 * time.Millisecond

// singles commits each by itself. Most are finished when it returns; one whose answer takes
// longer is finished later, and keeps nobody else waiting.
func (c *committer) singles(ctx context.Context, ops []*op, why error) {
	if errors.Is(why, bus.ErrUnknownOutcome) { // they may be stored
		for _, o := range ops {
			go c.settle(ctx, o, o.tried, why) // ends with the write
		}
		return
	}
	type flight struct {
		o       *op
		pending *bus.Pending
	}
	var flights []flight
	for _, o := range ops {
		p, err := c.publish(o)
		if err != nil {
			go c.settle(ctx, o, o.tried, err)
			continue
		}
		flights = append(flights, flight{o, p})
	}
	sent := time.Now()
	for _, f := range flights {
		seq, err := f.pending.Wait(ctx, max(0, gather-time.Since(sent)))
		switch {
		case err == nil:
			c.succeed(ctx, seq, seq, []*op{f.o})
		case errors.Is(err, bus.ErrNoAnswerYet):
			go func() {
				if seq, err := f.pending.Wait(ctx, answerWithin); err == nil {
					c.succeed(ctx, seq, seq, []*op{f.o})
				} else {
					c.settle(ctx, f.o, f.o.tried, err)
				}
			}()
		default:
			go c.settle(ctx, f.o, f.o.tried, err)
		}
	}
}

// aim notes where the log is, as far as is known, when a write is sent.
func (c *committer) aim(o *op) { o.seen, o.tried = c.view.Revision(), c.expectation(o) }

// publish sends a write by itself.
func (c *committer) publish(o *op) (*bus.Pending, error) {
	c.aim(o)
	return c.log.conn.PublishAsync(o.subject, o.Data, c.header(o, o.tried))
}

// batch commits all or nothing. Its sequences are consecutive; with a fence, the
// message that checks it comes first.
func (c *committer) batch(ctx context.Context, ops []*op) error {
	msgs := make([]bus.BatchMsg, 0, len(ops)+1)
	if f := ops[0].fence; f != (FenceEpoch{}) {
		if now := c.view.Fence(f.Name).Epoch; now > f.Epoch {
			return ErrFenced
		}
		msgs = append(msgs, bus.BatchMsg{Subject: proto.FenceUseSubject(f.Name), Header: bus.Header{
			bus.HeaderExpectLastSubjectSeq: {strconv.FormatUint(c.view.fenceAt(f.Name, f.Epoch), 10)},
			bus.HeaderExpectSubject:        {proto.FenceSubject(f.Name)},
		}})
	}
	if len(msgs)+len(ops) > atomicMost {
		return fmt.Errorf("%d writes at once: %w", len(ops), ErrTooLarge)
	}
	for _, o := range ops {
		c.aim(o)
		msgs = append(msgs, bus.BatchMsg{Subject: o.subject, Header: c.header(o, o.tried), Data: o.Data})
	}
	last, err := c.log.conn.PublishBatch(ctx, strconv.FormatUint(rand.Uint64(), 36), msgs, answerWithin)
	if errors.Is(err, bus.ErrUnknownOutcome) {
		if done, lookErr := c.lookup(ctx, ops[0]); lookErr == nil && done != 0 {
			// All or nothing: one of them stored is all of them stored.
			first := done - uint64(len(msgs)-len(ops))
			c.succeed(ctx, first, done+uint64(len(ops)-1), ops)
			return nil
		}
	}
	if err != nil {
		c.log.log.Debug("batch refused", zap.Int("writes", len(ops)), zap.Error(err))
		if f := ops[0].fence; f != (FenceEpoch{}) && errors.Is(err, bus.ErrWrongSequence) {
			if err := c.present(ctx); err != nil {
				return err
			}
			if c.view.Fence(f.Name).Epoch != f.Epoch {
				return ErrFenced
			}
		}
		return err
	}
	c.succeed(ctx, last-uint64(len(msgs)-1), last, ops)
	return nil
}

// errMadeAnew: a write got a sequence that the log had before.
var errMadeAnew = errors.New("the stream was made anew: stop the gateways and restore it from a backup")

// follows tells whether a sequence is one of the log that the view shows, given how far the
// view had come before the write was sent: in a stream that was made anew meanwhile, or
// restored, sequences begin again, and no view would ever show what is written there.
func (c *committer) follows(seq, seen uint64) error {
	if seq > seen {
		return nil
	}
	c.view.beliefs.found.replaced.Add(1)
	c.log.log.Error("a write was given a sequence that the log had before", zap.String("stream", c.view.stream.Name), zap.Uint64("seq", seq), zap.Uint64("seen", seen), zap.Error(errMadeAnew))
	return unavailable(errMadeAnew)
}

// succeed shows the writes in the view and answers them. The ops have the
// consecutive revisions that end at last.
func (c *committer) succeed(ctx context.Context, first, last uint64, ops []*op) {
	if err := c.follows(last, ops[0].seen); err != nil {
		for _, o := range ops {
			o.finish(0, err)
		}
		return
	}
	entries := make([]*Entry, len(ops))
	for i, o := range ops {
		entries[i] = o.entry(last - uint64(len(ops)-1-i))
	}
	c.view.offer(first, last, entries)
	if c.view.Revision() < last {
		if last != first {
			// Others' views hold batch members back until they hear that they are durable.
			_ = c.log.conn.Publish(proto.WatermarkSubject(c.view.stream.Name), strconv.AppendUint(nil, last, 10))
		}
		wait, cancel := context.WithTimeout(ctx, presentWithin)
		err := c.view.WaitFor(wait, last)
		cancel()
		if err != nil {
			c.log.log.Warn("the view lags behind an acknowledged write", zap.Uint64("seq", last), zap.Error(err))
		}
	} else if last != first {
		_ = c.log.conn.Publish(proto.WatermarkSubject(c.view.stream.Name), strconv.AppendUint(nil, last, 10))
	}
	for i, o := range ops {
		o.finish(entries[i].revision, nil)
	}
}

// settle decides what became of a single write that was not acknowledged, and
// repeats it where it was not done but may be. expect is what the attempt expected.
func (c *committer) settle(ctx context.Context, o *op, expect uint64, err error) {
	open := false // an earlier attempt with this expectation may have been stored
	for try := 0; ; try++ {
		open = open || errors.Is(err, bus.ErrUnknownOutcome)
		switch {
		case errors.Is(err, bus.ErrBusy):
			if try == busyRetries {
				o.finish(0, c.giveUp(open, err))
				return
			}
			pause()
		case errors.Is(err, bus.ErrWrongSequence), open:
			if errors.Is(err, bus.ErrUnavailable) {
				pause()
			}
			done, lookErr := c.lookup(ctx, o)
			if lookErr != nil {
				o.finish(0, c.giveUp(open, fmt.Errorf("%w, and looking it up: %w", err, lookErr)))
				return
			}
			if done != 0 {
				o.finish(done, nil)
				return
			}
			live, last := c.view.Last(o.Key.GroupResource, o.Key.Namespace, o.Key.Name)
			current := last
			if live != nil {
				current = live.revision
			}
			if open && current > expect {
				// Somebody wrote since: instead of this write, or after it.
				if !c.view.collection(o.Key.GroupResource).cameInstead(o.Key, expect) {
					o.finish(0, fmt.Errorf("%w: %w", ErrUnknown, err))
					return
				}
				open = false
			}
			if current == expect && errors.Is(err, bus.ErrWrongSequence) && live == nil && expect != 0 && o.Expect == 0 {
				// The store has forgotten the tombstone that we still remember.
				c.view.collection(o.Key.GroupResource).forgetTomb(o.Key.Namespace, o.Key.Name, expect)
			} else if !(live == nil && o.Expect == 0 || live != nil && live.revision == o.Expect) {
				o.finish(0, &ConflictError{Key: o.Key, Expect: o.Expect, Current: live})
				return
			}
			if o.strictNew() && errors.Is(err, bus.ErrWrongSequence) {
				o.finish(0, &ConflictError{Key: o.Key, Expect: o.Expect})
				return
			}
			if try == busyRetries {
				o.finish(0, c.giveUp(open, err))
				return
			}
			if errors.Is(err, bus.ErrWrongSequence) && try > 0 {
				// The store has another message there than the view, or none: somebody took
				// one away, or one that was refused has expired.
				c.view.forgetStanding(o.subject, expect)
				c.log.suspect(o.Key)
				pause()
			}
		case errors.Is(err, bus.ErrUnavailable):
			o.finish(0, unavailable(err))
			return
		default:
			o.finish(0, err)
			return
		}
		if ctx.Err() != nil {
			o.finish(0, ctx.Err())
			return
		}
		var seq uint64
		p, sendErr := c.publish(o)
		if err = sendErr; err == nil {
			if seq, err = p.Wait(ctx, answerWithin); err == nil {
				c.succeed(ctx, seq, seq, []*op{o})
				return
			}
		}
		expect = o.tried
	}
}

// giveUp is the error of a write that is not tried any longer.
func (c *committer) giveUp(open bool, err error) error {
	if open {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return unavailable(err)
}

// cameInstead tells whether another version stands directly on what a write expected: then
// the write is not in the log, and never will be. Otherwise it may have been there, and
// was replaced before this process read it.
func (c *collection) cameInstead(k proto.Key, expect uint64) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	follows := func(e *Entry) bool { return e.chained && e.replaces == expect && e.revision > expect }
	if e, ok := c.tree.Get(probe(k.Namespace, k.Name)); ok && follows(e) {
		return true
	}
	for _, ev := range slices.Backward(c.events) {
		if ev.Entry.revision <= expect {
			break
		}
		if ev.Entry.key == k && follows(ev.Entry) {
			return true
		}
	}
	return false
}

// present brings the view up to what the log holds. While the store is away it waits.
func (c *committer) present(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, presentWithin)
	defer cancel()
	for {
		rev, err := c.log.barriers[c.view.stream.Name].join(ctx)
		if err == nil {
			return c.view.WaitFor(ctx, rev)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(presentAgain):
		}
	}
}

// presentAgain is the time between two questions to a store that is away.
const presentAgain = 50 * time.Millisecond

// lookup brings the view up to the present and gives the revision under which
// the write was stored, 0 when it was not.
func (c *committer) lookup(ctx context.Context, o *op) (uint64, error) {
	if err := c.present(ctx); err != nil {
		return 0, err
	}
	col := c.view.known(o.Key.GroupResource)
	if col == nil {
		return 0, nil
	}
	return col.findRequest(o.Key, o.requestID), nil
}

// findRequest looks for the version that a write made: the live one, or one of
// the recent past.
func (c *collection) findRequest(k proto.Key, id uint64) uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if e, ok := c.tree.Get(probe(k.Namespace, k.Name)); ok && e.requestID == id {
		return e.revision
	}
	for i := len(c.events) - 1; i >= 0; i-- {
		if e := c.events[i].Entry; e.requestID == id && e.key == k {
			return e.revision
		}
	}
	return 0
}
