package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/tunnel"
)

const (
	// Kind marks the tunnels of this package.
	Kind = "log"
	// channel is the one that has the records.
	channel = 1
	// ahead is how many bytes of records wait for a reader's window.
	ahead = 1 << 20
	// mostReaders is how many tunnels one client has at one gateway: its streams, times
	// its processes, and those of which nobody noticed yet that they are broken.
	mostReaders = 64
)

// Serve lets clients read what they may (proto.Reader) until Stop of the subscription;
// tunnels end with ctx. views are the gateway's own.
func Serve(ctx context.Context, conn *bus.Conn, views *statelog.Views) (*bus.Subscription, error) {
	quota := tunnel.NewQuota(mostReaders)
	return conn.Subscribe(proto.LogSubjects, proto.APIQueue, func(m *bus.Msg) {
		client, verb, err := proto.ParseLogSubject(m.Subject)
		if err != nil || !proto.MayBeAnswered(client, m.Reply) {
			return // the answer would go where the gateway may publish and the caller may not
		}
		own := *m
		switch verb {
		case "state":
			go answerState(ctx, views.Source(), client, &own)
		case "read":
			tunnel.GatewayWith(client).SendOnly().Within(quota).Accept(ctx, conn, &own, func(ctx context.Context, open *message.TunnelOpen, t *tunnel.Tunnel) error {
				return read(ctx, views, client, open, t)
			})
		}
	})
}

func answerState(ctx context.Context, source statelog.Source, client string, m *bus.Msg) {
	var r request
	var s state
	err := json.Unmarshal(m.Data, &r)
	if err == nil {
		_, err = filter(client, r)
	}
	if err == nil {
		s.StreamState, err = source.StreamState(ctx, r.Stream)
	}
	if err != nil {
		s.Error = err.Error()
	}
	if data, err := json.Marshal(s); err == nil {
		_ = m.Respond(data) // a caller that is gone will not miss it
	}
}

// filter gives the subjects to consume: what was asked for, where the client may read it,
// or all that it may.
func filter(client string, r request) ([]string, error) {
	var may []string
	for _, read := range proto.Reader(client) {
		if read.Stream != r.Stream {
			continue
		}
		if len(read.Resources) == 0 {
			i := slices.IndexFunc(proto.StateStreams(), func(s proto.Stream) bool { return s.Name == read.Stream })
			may = append(may, proto.StateStreams()[i].Class+".>")
		}
		for _, gr := range read.Resources {
			may = append(may, proto.ResourceSubjects(gr))
		}
		for _, fence := range read.Fences {
			may = append(may, proto.FenceSubject(fence))
		}
	}
	if len(may) == 0 {
		return nil, fmt.Errorf("%s may not read stream %s", client, r.Stream)
	}
	if len(r.Subjects) == 0 {
		return may, nil
	}
	for _, subject := range r.Subjects {
		if !slices.ContainsFunc(may, func(s string) bool { return within(s, subject) }) {
			return nil, fmt.Errorf("%s may not read %s", client, subject)
		}
	}
	return r.Subjects, nil
}

// within tells whether all of subject is of, or below it where that ends in ".>".
func within(of, subject string) bool {
	prefix, below := strings.CutSuffix(of, ">")
	if !below {
		return subject == of
	}
	return strings.HasPrefix(subject, prefix) && len(subject) > len(prefix)
}

// read hands over a stream until ctx ends, which it does with the tunnel.
func read(ctx context.Context, views *statelog.Views, client string, open *message.TunnelOpen, t *tunnel.Tunnel) error {
	var r request
	if err := json.Unmarshal(open.Request, &r); err != nil || open.Kind != Kind {
		return errors.New("unreadable request")
	}
	subjects, err := filter(client, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := newWriter()
	defer context.AfterFunc(ctx, func() {
		w.stop()
		t.Close(nil) // also a write that waits for the reader ends
	})()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.copy(t.Channel(channel))
		cancel()
	}()
	err = views.Source().Read(ctx, statelog.Reading{Stream: r.Stream, Subjects: subjects, From: r.From, Goal: r.Goal}, statelog.Handler{
		Message: func(m *bus.StreamMsg) {
			w.add(func(b []byte) []byte { return appendMessage(b, m) })
		},
		Settled: func(seq uint64) {
			w.add(func(b []byte) []byte { return appendSettled(b, seq) })
		},
	})
	cancel()
	w.stop()
	<-done
	return err
}

// writer gathers records while those before are on their way.
type writer struct {
	mu      sync.Mutex
	changed sync.Cond
	buffer  []byte
	spare   []byte
	stopped bool
}

func newWriter() *writer {
	w := &writer{}
	w.changed.L = &w.mu
	return w
}

// add waits while too much is waiting already.
func (w *writer) add(record func([]byte) []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.buffer) >= ahead && !w.stopped {
		w.changed.Wait()
	}
	if !w.stopped {
		w.buffer = record(w.buffer)
		w.changed.Broadcast()
	}
}

func (w *writer) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.changed.Broadcast()
}

// copy writes what was added until stop, or an error.
func (w *writer) copy(out *tunnel.Channel) {
	for {
		w.mu.Lock()
		for len(w.buffer) == 0 && !w.stopped {
			w.changed.Wait()
		}
		if w.stopped {
			w.mu.Unlock()
			return
		}
		data := w.buffer
		w.buffer, w.spare = w.spare[:0], nil
		w.changed.Broadcast()
		w.mu.Unlock()
		_, err := out.Write(data)
		w.mu.Lock()
		if cap(data) <= 64<<10 { // what a burst needed is given back
			w.spare = data
		}
		w.stopped = w.stopped || err != nil
		w.mu.Unlock()
	}
}
