package sim

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing/synctest"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/kit/leader"
)

// workers is how many keys of a controller are worked on at a time: more than a play
// has, so that it does not matter which one came first.
const workers = 8

// Process is one process of the service: it leads, or stands by. It is its own bus,
// transport to the API and source of the log.
type Process struct {
	Name string

	c      *Cluster
	number int
	cancel context.CancelFunc
	done   chan error
	paused bool

	// guarded by the cluster's mu
	feeds   map[string]*reading
	hearing map[int]*listener
	heard   int
	inbox   []note
}

type reading struct {
	h       statelog.Handler
	next    int               // in the log
	missing map[string]uint64 // the first message of a subject that was gone, until a newer one is there
}

// settled is up to where nothing is missing when everything up to read was handed over.
func (r *reading) settled(read uint64) uint64 {
	for _, seq := range r.missing {
		read = min(read, seq-1)
	}
	return read
}

type listener struct {
	subject string
	h       func(subject string, data []byte)
}

type note struct {
	subject string
	data    []byte
}

// Start starts a process; its name is the instance's.
func (c *Cluster) Start(name string) *Process {
	ctx, cancel := context.WithCancel(c.t.Context())
	c.started++
	p := &Process{Name: name, c: c, number: c.started, cancel: cancel, done: make(chan error, 1), feeds: map[string]*reading{}, hearing: map[int]*listener{}}
	c.mu.Lock()
	c.processes = append(c.processes, p)
	c.mu.Unlock()
	c.tell("%s starts", name)
	go func() { p.done <- p.run(ctx) }()
	synctest.Wait()
	return p
}

func (p *Process) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	settings := p.c.settings
	world := &frame.World{
		Mirrors: mirror.NewWorld(), Views: statelog.OpenViewsFrom(ctx, p, zap.NewNop()), Bus: p,
		API: apiclient.New(p, ""), Settings: &settings, Workers: workers, Logger: zap.NewNop(), Suffix: p.suffix,
	}
	group.Go(func() error { return world.Mirrors.Run(ctx, world.Views, zap.NewNop()) })
	for _, g := range p.c.groups {
		group.Go(func() error {
			return leader.Run(ctx, leader.Options{
				Name: proto.ControllersFence(g.Name), Instance: p.Name, Fences: world.API.As(proto.ControllersLeader(g.Name)), Bus: p, Logger: zap.NewNop(),
			}, func(ctx context.Context, fence *message.Fence) error { return g.Run(ctx, world, fence, func() {}) })
		})
	}
	err := group.Wait()
	return cmp.Or(err, world.Views.Wait())
}

// Kill ends a process between two of its steps. What it has sent may still arrive.
func (p *Process) Kill() {
	c := p.c
	c.mu.Lock()
	c.processes = slices.DeleteFunc(c.processes, func(other *Process) bool { return other == p })
	c.mu.Unlock()
	c.tell("%s ends", p.Name)
	p.cancel()
	if err := <-p.done; err != nil {
		c.Break("%s ended by itself: %v", p.Name, err)
	}
	synctest.Wait()
}

// Pause holds all that a process says and hears, or lets go of it.
func (p *Process) Pause(paused bool) {
	if p.paused = paused; paused {
		p.c.tell("%s is paused", p.Name)
	} else {
		p.c.tell("%s goes on", p.Name)
	}
}

// Paused tells whether it is held.
func (p *Process) Paused() bool { return p.paused }

// deliver brings up to n messages of a stream; false: there was none.
func (p *Process) deliver(stream string, n int) bool {
	p.c.mu.Lock()
	r := p.feeds[stream]
	p.c.mu.Unlock()
	if r == nil {
		return false
	}
	some := false
	for log := p.c.log[stream]; n > 0 && r.next < len(log); {
		m := log[r.next]
		r.next++
		// The log keeps the newest of each subject only: others may be gone when a process
		// gets there.
		if p.c.newest[m.Subject] != m.Seq && p.c.chance(p.c.Odds.Gone) {
			if r.missing[m.Subject] == 0 {
				r.missing[m.Subject] = m.Seq
			}
			continue
		}
		delete(r.missing, m.Subject)
		for range 1 + p.c.Rand.IntN(2) {
			copied := *m
			r.h.Message(&copied)
			synctest.Wait()
		}
		r.h.Settled(r.settled(m.Seq))
		synctest.Wait()
		n--
		some = true
	}
	return some
}

// hear hands over what the bus has for the process; false: nothing.
func (p *Process) hear() bool {
	p.c.mu.Lock()
	inbox := p.inbox
	p.inbox = nil
	var heard []*listener
	for i := range p.heard {
		if l := p.hearing[i]; l != nil {
			heard = append(heard, l)
		}
	}
	p.c.mu.Unlock()
	slices.SortFunc(inbox, func(a, b note) int {
		return cmp.Or(strings.Compare(a.subject, b.subject), bytes.Compare(a.data, b.data))
	})
	for _, n := range inbox {
		for _, l := range heard {
			if prefix, wild := strings.CutSuffix(l.subject, "*"); l.subject == n.subject || wild && strings.HasPrefix(n.subject, prefix) {
				l.h(n.subject, n.data)
				synctest.Wait()
			}
		}
	}
	return len(inbox) > 0
}

// StreamState implements statelog.Source.
func (p *Process) StreamState(_ context.Context, stream string) (bus.StreamState, error) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	state := bus.StreamState{FirstSeq: 1}
	if log := p.c.log[stream]; len(log) > 0 {
		state.LastSeq = log[len(log)-1].Seq
	}
	return state, nil
}

// Read implements statelog.Source.
func (p *Process) Read(ctx context.Context, from statelog.Reading, h statelog.Handler) error {
	p.c.mu.Lock()
	log := p.c.log[from.Stream]
	first := slices.IndexFunc(log, func(m *bus.StreamMsg) bool { return m.Seq >= from.From })
	if first < 0 {
		first = len(log)
	}
	p.feeds[from.Stream] = &reading{h, first, map[string]uint64{}}
	p.c.mu.Unlock()
	if first == len(log) {
		h.Settled(from.Goal)
	}
	<-ctx.Done()
	return ctx.Err()
}

// Hear implements frame.Bus.
func (p *Process) Hear(subject string, h func(subject string, data []byte)) (func(), error) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	n := p.heard
	p.heard++
	p.hearing[n] = &listener{subject, h}
	return func() {
		p.c.mu.Lock()
		defer p.c.mu.Unlock()
		delete(p.hearing, n)
	}, nil
}

// Request implements frame.Bus.
func (p *Process) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	got, err := p.c.ask(ctx, &call{from: p, text: fmt.Sprintf("%s %x", subject, data), do: func() (any, error) { return p.c.Answer(subject, data) }})
	if err != nil {
		return nil, err
	}
	return got.([]byte), nil
}

// Flush implements frame.Bus.
func (p *Process) Flush(ctx context.Context) error {
	_, err := p.c.ask(ctx, &call{from: p, text: "flush", do: func() (any, error) {
		p.hear()
		return nil, nil
	}})
	return err
}

// OnReconnect implements frame.Bus: the bus is never away.
func (p *Process) OnReconnect(func()) func() { return func() {} }

// Listen implements leader.Bus.
func (p *Process) Listen(subject string, h func(data []byte)) (func(), error) {
	return p.Hear(subject, func(_ string, data []byte) { h(data) })
}

// Publish implements leader.Bus.
func (p *Process) Publish(subject string, data []byte) error {
	p.c.Publish(subject, data)
	return nil
}
