package statelog

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// Trust says which messages of the log views believe. Without Keys, all.
type Trust struct {
	Keys *Keys
	// Adopt also believes what nobody signed, until Log.Renew has signed it: for the
	// first start on a log from before there were signatures.
	Adopt bool
}

// Integrity counts what was found wrong with a log and put right, since the process
// began.
type Integrity struct {
	// Refused messages were written by no gateway, or long before they were stored.
	Refused uint64
	// Restored are the objects whose last good version was written again.
	Restored uint64
	// Lost were refused with no good version known: the objects are taken for not there.
	Lost uint64
	// Replaced is how often a stream was found deleted, or made anew with less in it.
	Replaced uint64
}

type integrity struct{ refused, restored, lost, replaced atomic.Uint64 }

// What a replayed message is told by: readers know of a message that is older than
// freshFor, by the store's own clock, and came more than freshWithin messages after what
// the writer had seen. No writer takes so long; the slack is for the messages that were
// under way when the store's clock was set.
const (
	freshFor    = 10 * time.Minute
	freshWithin = 1000
	markEvery   = 10 * time.Second
)

// ages knows roughly how old the messages before one are.
type ages struct {
	marks []mark // oldest first
	old   uint64 // the newest sequence known to be older than freshFor
}

type mark struct {
	seq  uint64
	time time.Time
}

// pass takes notice of the next message.
func (a *ages) pass(seq uint64, at time.Time) {
	for len(a.marks) > 0 && at.Sub(a.marks[0].time) > freshFor {
		a.old = a.marks[0].seq
		a.marks = a.marks[1:]
	}
	if n := len(a.marks); n == 0 || at.Sub(a.marks[n-1].time) >= markEvery {
		a.marks = append(a.marks, mark{seq, at})
	}
}

// stale tells whether the message that passed last cannot have been signed by who had
// seen the log up to a sequence.
func (a *ages) stale(seen uint64) bool { return a.old > freshWithin && seen < a.old-freshWithin }

// beliefs are what a view keeps of messages that it does not believe. The view's lock
// guards it.
type beliefs struct {
	Trust
	found *integrity
	ages  ages
	// standing are the refused messages that are their subjects' newest, and refused all
	// that a reader of the stream may still come upon.
	standing map[string]uint64
	refused  map[uint64]struct{}
	missing  uint64 // the newest message refused in the bootstrap: what it replaced is not known
	believed bool   // at least one was
	// renew are the versions that are not signed under the first key; found in the bootstrap.
	renew []*bus.StreamMsg
	// suspect is told of an object that has to be looked at; it must not block. nil: nobody can.
	suspect func(proto.Key)
	logged  time.Time
}

// mostRefused bounds what is remembered of refused messages that others have replaced.
const mostRefused = 1 << 16

// believe judges the message that passes.
func (b *beliefs) believe(m *bus.StreamMsg) (err error) {
	if b.Keys == nil {
		return nil
	}
	seen, current, err := b.Keys.verify(m)
	switch {
	case errors.Is(err, errUnsigned) && b.Adopt:
		current = false
	case err != nil:
		return err
	case b.ages.stale(seen):
		return errReplayed
	}
	if !current {
		b.renew = append(b.renew, m)
	}
	b.believed = true
	if len(b.standing) > 0 {
		delete(b.standing, m.Subject)
	}
	return nil
}

// refuse remembers a message that is not believed.
func (b *beliefs) refuse(m *bus.StreamMsg) {
	b.found.refused.Add(1)
	if b.standing == nil {
		b.standing, b.refused = map[string]uint64{}, map[uint64]struct{}{}
	}
	b.standing[m.Subject] = m.Seq
	b.refused[m.Seq] = struct{}{}
	if len(b.refused) > max(mostRefused, 2*len(b.standing)) {
		clear(b.refused)
		for _, seq := range b.standing {
			b.refused[seq] = struct{}{}
		}
	}
}

// refuse is told of a message that is not believed. The lock is held.
func (v *View) refuse(m *bus.StreamMsg, why error) {
	b := &v.beliefs
	b.refuse(m)
	if !v.IsReady() {
		b.missing = m.Seq
		b.found.lost.Add(1)
	}
	if now := time.Now(); now.Sub(b.logged) >= time.Second { // who writes them may write many
		b.logged = now
		v.log.Error("a message of the log is not believed", zap.String("subject", m.Subject), zap.Uint64("seq", m.Seq), zap.Uint64("refused", b.found.refused.Load()), zap.Error(why))
	}
	if key, err := proto.ParseStateSubject(m.Subject); err == nil && b.suspect != nil && v.IsReady() {
		b.suspect(key)
	}
}

func (v *View) keys() *Keys { return v.beliefs.Keys }

// stands gives the sequence that a subject is at, given that of its newest message that
// is believed: a refused one may stand there.
func (v *View) stands(subject string, believed uint64) uint64 {
	if v.beliefs.Keys == nil {
		return believed
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return max(v.beliefs.standing[subject], believed)
}

// fenceAt gives the sequence that the subject of a fence is at when its epoch is the newest;
// otherwise the epoch, at which the subject is no more.
func (v *View) fenceAt(name string, epoch uint64) uint64 {
	if v.Fence(name).Epoch != epoch {
		return epoch
	}
	return v.stands(proto.FenceSubject(name), epoch)
}

// forgetStanding is for a refused message that the store no longer has.
func (v *View) forgetStanding(subject string, seq uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.beliefs.standing[subject] == seq {
		delete(v.beliefs.standing, subject)
	}
}

// shows tells whether a message that the view has read is one to show.
func (v *View) shows(seq uint64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, refused := v.beliefs.refused[seq]
	return !refused
}

// ErrNotOurs: there is something in the log, and none of it is signed under our keys.
var ErrNotOurs = errors.New("no object in the log is signed under the keys given: they are another cluster's, or the log is from before there were signatures and was not to be adopted")

// Trusted waits until the views are ready and gives ErrNotOurs where nothing in the log is
// believed: whoever took it for empty would begin anew on top of it.
func (vs *Views) Trusted(ctx context.Context) error {
	if err := vs.Ready(ctx); err != nil || vs.trust.Keys == nil {
		return err
	}
	v := vs.Stream(proto.StateStream)
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.beliefs.standing) > 0 && !v.beliefs.believed {
		return ErrNotOurs
	}
	return nil
}

// Integrity tells what was found wrong since the process began.
func (vs *Views) Integrity() Integrity {
	f := &vs.found
	return Integrity{f.refused.Load(), f.restored.Load(), f.lost.Load(), f.replaced.Load()}
}

// Signed tells whether views believe signed messages only.
func (vs *Views) Signed() bool { return vs.trust.Keys != nil }
