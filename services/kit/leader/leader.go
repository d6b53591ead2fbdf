// Package leader lets one of several instances of a service work at a time.
//
// The instance that leads holds a fence, an epoch in the log, and announces itself
// on the bus every two seconds; nothing of that is stored. The others listen, and
// take over after ten seconds of silence by taking the fence. Every write of the
// leader names its epoch, so a leader that was taken for dead and is not writes
// nothing more, however late its messages arrive.
//
//	(listening) -- silence, fence taken --> (leading)
//	     ^                                     |
//	     +---- somebody announces a newer epoch, or has taken one without a word ----+
//
// Where there can be no second instance the fence is taken without waiting. It is not
// for nothing: what an earlier run sent before its end may still be on its way, and is
// refused from then on.
//
// Promise: lead runs in one instance at a time, give or take the moment until a
// deposed one notices; in that moment its writes are refused. Silence is measured
// by this process's monotonic clock.
package leader

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
)

// Times of the protocol.
const (
	Announce = 2 * time.Second         // between announcements
	Silence  = 10 * time.Second        // until a leader counts as gone
	Settle   = 2500 * time.Millisecond // silence that is enough when nobody else held the fence
	retry    = time.Second             // after a fence could not be asked for
)

// Options say what is led and by whom.
type Options struct {
	Name     string // of the fence
	Instance string // this instance; the same after a restart, other than all others'
	Fences   Fences
	Bus      Bus
	Logger   *zap.Logger
	Alone    bool // there is no other instance: nobody's silence is waited for, unless one is heard of after all
}

// Fences takes fences through a gateway: *apiclient.Client.
type Fences interface {
	AcquireFence(ctx context.Context, name, holder string, epoch uint64) (*message.FenceState, error)
}

// Bus carries announcements.
type Bus interface {
	Publish(subject string, data []byte) error
	// Listen calls h for each message of a subject until stop is called.
	Listen(subject string, h func(data []byte)) (stop func(), err error)
}

// OnBus is the Bus of a connection.
func OnBus(conn *bus.Conn) Bus { return onBus{conn} }

type onBus struct{ *bus.Conn }

func (b onBus) Listen(subject string, h func(data []byte)) (func(), error) {
	sub, err := b.Subscribe(subject, "", func(m *bus.Msg) { h(m.Data) })
	if err != nil {
		return nil, err
	}
	return sub.Stop, nil
}

// Run calls lead whenever this instance leads, with a context that ends when it
// does no more, and returns when ctx has ended or lead has failed.
func Run(ctx context.Context, o Options, lead func(ctx context.Context, fence *message.Fence) error) error {
	e := &elector{Options: o, holder: o.Instance + "/" + rand.Text(), heard: make(chan struct{}, 1)}
	stop, err := o.Bus.Listen(kubus.LeaderSubject(o.Name), e.hear)
	if err != nil {
		return fmt.Errorf("listening for the leader of %s: %w", o.Name, err)
	}
	defer stop()
	for ctx.Err() == nil {
		fence, err := e.win(ctx)
		if err != nil {
			return nil // ctx has ended
		}
		e.Alone = false
		o.Logger.Info("leading", zap.String("fence", o.Name), zap.Uint64("epoch", fence.Epoch))
		if err := e.serve(ctx, fence, lead); err != nil {
			return err
		}
		if ctx.Err() == nil {
			o.Logger.Warn("another instance leads", zap.String("fence", o.Name))
		}
	}
	return nil
}

type elector struct {
	Options
	holder string        // this run of the instance
	heard  chan struct{} // an announcement of another instance came

	mu    sync.Mutex
	epoch uint64 // the newest epoch announced by another instance
	last  time.Time
}

func (e *elector) hear(data []byte) {
	var state message.FenceState
	if proto.Unmarshal(data, &state) != nil || state.Holder == e.holder {
		return
	}
	e.mu.Lock()
	e.epoch, e.last = max(e.epoch, state.Epoch), time.Now()
	e.mu.Unlock()
	select {
	case e.heard <- struct{}{}:
	default:
	}
}

func (e *elector) newest() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.epoch
}

func (e *elector) lastHeard() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

// win waits until the fence is ours. The error is ctx's.
func (e *elector) win(ctx context.Context) (*message.Fence, error) {
	since := time.Now()
	var from uint64 // only succeeds from 0 when nobody ever held the fence
	for {
		present, err := e.Fences.AcquireFence(ctx, e.Name, e.holder, from)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			e.Logger.Warn("asking for the fence", zap.String("fence", e.Name), zap.Error(err))
			if err := sleep(ctx, retry); err != nil {
				return nil, err
			}
			continue
		case present.Holder == e.holder:
			return &message.Fence{Name: e.Name, Epoch: present.Epoch}, nil
		}
		need := Silence
		if e.Alone {
			from = max(present.Epoch, e.newest())
			continue
		}
		if instance, _, _ := strings.Cut(present.Holder, "/"); instance == e.Instance {
			need = Settle // it was held by an earlier run of this instance
		}
		if from != 0 { // somebody took it before us just now
			since = time.Now()
		}
		if err := e.silence(ctx, since, need); err != nil {
			return nil, err
		}
		// The one that fell silent may have taken the fence after we asked.
		from = max(present.Epoch, e.newest())
	}
}

// silence returns once nothing was heard for long enough, counted from since.
func (e *elector) silence(ctx context.Context, since time.Time, need time.Duration) error {
	for {
		if last := e.lastHeard(); last.After(since) {
			since, need = last, Silence // there is another one, alive
		}
		left := need - time.Since(since)
		if left <= 0 {
			return nil
		}
		if err := sleep(ctx, left); err != nil {
			return err
		}
	}
}

// serve leads until ctx ends, somebody newer is there, or lead fails.
func (e *elector) serve(ctx context.Context, fence *message.Fence, lead func(ctx context.Context, fence *message.Fence) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer func() {
		cancel()
		asking.Wait()
	}()
	lost := make(chan struct{})
	asking.Go(func() { e.look(ctx, fence, lost) })
	done := make(chan error, 1)
	go func() { done <- lead(ctx, fence) }()
	for {
		e.announce(fence)
		select {
		case err := <-done:
			return err
		case <-time.After(Announce):
		case <-e.heard:
			if e.newest() > fence.Epoch {
				cancel()
				return <-done
			}
		case <-lost:
			cancel()
			return <-done
		case <-ctx.Done():
			return <-done
		}
	}
}

// look closes lost when the fence is another's: who took it may have ended before it
// could say so, and then nobody would ever tell.
func (e *elector) look(ctx context.Context, fence *message.Fence, lost chan<- struct{}) {
	for sleep(ctx, Silence) == nil {
		// From 0 nothing is taken that somebody holds.
		if present, err := e.Fences.AcquireFence(ctx, e.Name, e.holder, 0); err == nil && present.Epoch > fence.Epoch {
			close(lost)
			return
		}
	}
}

func (e *elector) announce(fence *message.Fence) {
	data, err := proto.Marshal(&message.FenceState{Name: e.Name, Holder: e.holder, Epoch: fence.Epoch})
	if err == nil {
		err = e.Bus.Publish(kubus.LeaderSubject(e.Name), data)
	}
	if err != nil {
		e.Logger.Warn("announcing", zap.String("fence", e.Name), zap.Error(err))
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
