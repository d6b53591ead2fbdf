package statelogtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/store"
)

// line is a connection to a server on which some of what the server says is lost.
type line struct {
	server *store.Server

	mu   sync.Mutex
	lose func(subject string, payload []byte) bool // nil: nothing is lost
	lost int
	last net.Conn
}

// cut ends the connection; the client makes another.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last.Close()
}

// losing says what is lost from now on.
func (l *line) losing(f func(subject string, payload []byte) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose, l.lost = f, 0
}

func (l *line) losses() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// InProcessConn implements what bus.Options asks for.
func (l *line) InProcessConn() (net.Conn, error) {
	c, err := l.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.last = c
	l.mu.Unlock()
	heard, say := io.Pipe()
	go func() { // ends with the connection
		in := bufio.NewReader(c)
		for {
			m, err := frame(in)
			if err != nil {
				_ = say.CloseWithError(err)
				return
			}
			if !l.loses(m) {
				if _, err := say.Write(m); err != nil {
					return
				}
			}
		}
	}()
	return &deaf{c, heard}, nil
}

func (l *line) loses(m []byte) bool {
	head, payload, _ := bytes.Cut(m, []byte("\r\n"))
	fields := strings.Fields(string(head))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lose == nil || len(fields) < 4 || !l.lose(fields[1], payload) {
		return false
	}
	l.lost++
	return true
}

// frame reads one line of the protocol, and the payload that a message has.
func frame(in *bufio.Reader) ([]byte, error) {
	head, err := in.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(head))
	if len(fields) < 4 || fields[0] != "MSG" && fields[0] != "HMSG" {
		return head, nil
	}
	size, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil {
		return nil, err
	}
	m := append(head, make([]byte, size+2)...)
	_, err = io.ReadFull(in, m[len(head):])
	return m, err
}

type deaf struct {
	net.Conn
	heard *io.PipeReader
}

func (d *deaf) Read(b []byte) (int, error) { return d.heard.Read(b) }

func (d *deaf) Close() error {
	d.heard.Close()
	return d.Conn.Close()
}

// onLine opens a log over such a connection.
func onLine(t *testing.T, server *store.Server) (*Log, *line) {
	t.Helper()
	l := &line{server: server}
	conn, err := bus.Connect(t.Context(), bus.Options{InProcess: l, Name: "test", Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Drain() })
	return On(t, conn), l
}

func isAck(payload []byte) bool { return bytes.HasPrefix(payload, []byte(`{"stream":"STATE"`)) }

func isInfo(payload []byte) bool { return bytes.Contains(payload, []byte("stream_info_response")) }

// outcome is what became of a write.
type outcome struct {
	rev uint64
	err error
}

func begin(t *testing.T, l *Log, w statelog.Write) chan outcome {
	done := make(chan outcome, 1)
	go func() { // ends with the write
		rev, err := l.Commit(t.Context(), w)
		done <- outcome{rev, err}
	}()
	return done
}

// While one write has no answer, and nobody tells what became of it, others go on, on one
// server as well, where writes go one after the other.
func TestALostAnswerDelaysNobodyElse(t *testing.T) {
	l, line := onLine(t, bustest.Server(t))
	a := Key("configmaps/default/a")
	once := true
	line.losing(func(_ string, payload []byte) bool {
		lose := isInfo(payload) || isAck(payload) && once
		once = once && !isAck(payload)
		return lose
	})
	lost := begin(t, l, statelog.Write{Key: a, Data: object("a", 1)})
	until(t, func() bool { return line.losses() > 0 })
	for i := range 20 {
		l.Put(Key(fmt.Sprintf("configmaps/default/b%d", i)), map[string]any{"metadata": map[string]any{}})
	}
	select {
	case got := <-lost:
		t.Fatalf("the write without an answer has ended: %+v; nothing was tried", got)
	default:
	}
	line.losing(nil)
	if got := <-lost; got.err != nil || got.rev == 0 || got.rev != l.View(a.GroupResource).Get(a.GroupResource, "default", "a").Revision() {
		t.Errorf("got %+v", got)
	}
}

// A write without an answer, whose version another gateway has replaced before this one
// read it, was done: it is not in conflict, and it is not done again.
func TestAWriteThatWasReplacedUnreadIsNoConflict(t *testing.T) {
	for name, c := range map[string]struct {
		there bool // before
		after func(other *Log, k proto.Key, written uint64)
		live  bool // afterwards
	}{
		"an update that was followed by another": {true, func(other *Log, k proto.Key, _ uint64) {
			other.Put(k, map[string]any{"metadata": map[string]any{}, "by": "another"})
		}, true},
		"a creation that was taken back": {false, func(other *Log, k proto.Key, _ uint64) { other.Remove(k) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := bustest.Server(t)
			other := On(t, bustest.Connect(t, server))
			l, line := onLine(t, server)
			k := Key("configmaps/default/k")
			w := statelog.Write{Key: k, Data: object("k", 1)}
			if c.there {
				w.Expect = other.Put(k, map[string]any{"metadata": map[string]any{}})
			}
			if _, err := l.Barrier(t.Context(), k.GroupResource); err != nil {
				t.Fatal(err)
			}
			line.losing(func(string, []byte) bool { return true })
			lost := begin(t, l, w)
			var written uint64
			until(t, func() bool {
				e := other.View(k.GroupResource).Get(k.GroupResource, "default", "k")
				if e != nil && e.Revision() > w.Expect {
					written = e.Revision()
				}
				return written != 0
			})
			c.after(other, k, written)
			line.losing(nil)
			line.cut() // what was lost does not come any more
			if got := <-lost; !errors.Is(got.err, statelog.ErrUnknown) {
				t.Errorf("got %+v", got)
			}
			if _, err := l.Barrier(t.Context(), k.GroupResource); err != nil {
				t.Fatal(err)
			}
			if e := l.View(k.GroupResource).Get(k.GroupResource, "default", "k"); (e != nil) != c.live || e != nil && bytes.Equal(e.Data(), w.Data) {
				t.Errorf("in the end there is %v", e)
			}
		})
	}
}

// A batch without an answer is looked for as a single write is: none of its writes is
// made twice, none is told to be in conflict with itself.
func TestABatchWithoutAnAnswerIsFound(t *testing.T) {
	l, line := onLine(t, bustest.Server(t))
	// The first write keeps the only slot until its answer is late, so that the others gather.
	line.losing(func(_ string, payload []byte) bool { return isAck(payload) && line.lost < 2 })
	const writes = 40
	var all [writes]chan outcome
	for i := range all {
		k := Key(fmt.Sprintf("configmaps/default/b%d", i))
		all[i] = begin(t, l, statelog.Write{Key: k, Data: object(k.Name, 1)})
	}
	for i, done := range all {
		got := <-done
		k := Key(fmt.Sprintf("configmaps/default/b%d", i))
		e := l.View(k.GroupResource).Get(k.GroupResource, k.Namespace, k.Name)
		if got.err != nil || e == nil || e.Revision() != got.rev {
			t.Errorf("%s: got %+v, there is %v", k, got, e)
		}
	}
	if line.losses() == 0 {
		t.Error("nothing was lost")
	}
}

// A stream that is made anew begins to count again. What is written there no view would
// ever show: it is not acknowledged.
func TestAWriteIntoAStreamThatWasMadeAnewIsNotAcknowledged(t *testing.T) {
	l := Open(t)
	for i := range 5 {
		l.Put(Key(fmt.Sprintf("configmaps/default/o%d", i)), map[string]any{"metadata": map[string]any{}})
	}
	answer, err := l.Conn.Request(t.Context(), "$JS.API.STREAM.DELETE.STATE", nil)
	if err != nil || !bytes.Contains(answer, []byte(`"success":true`)) {
		t.Fatalf("%s %v", answer, err)
	}
	if _, err := l.Conn.EnsureStream(t.Context(), proto.StateStream, 1); err != nil {
		t.Fatal(err)
	}
	k := Key("configmaps/default/new")
	if rev, err := l.Commit(t.Context(), statelog.Write{Key: k, Data: object("new", 1)}); !errors.Is(err, statelog.ErrUnavailable) {
		t.Errorf("got %d, %v", rev, err)
	}
	if got := l.Views().Integrity().Replaced; got == 0 {
		t.Error("nobody is told")
	}
}

// The store takes a thousand messages at once; with a fence, its check is one of them.
func TestAThousandWritesAreOneCommit(t *testing.T) {
	l := Open(t)
	fenced := under(t, l, "planner")
	for name, c := range map[string]struct {
		writes int
		fenced bool
		want   error
	}{
		"all that fit":          {1000, false, nil},
		"one more":              {1001, false, statelog.ErrTooLarge},
		"all but the fence":     {999, true, nil},
		"no room for the fence": {1000, true, statelog.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if c.fenced {
				ctx = fenced
			}
			ctx = statelog.WithGroup(ctx, statelog.NewGroup(c.writes))
			var wait sync.WaitGroup
			errs := make([]error, c.writes)
			for i := range errs {
				wait.Go(func() {
					_, errs[i] = l.Commit(ctx, statelog.Write{Key: Key(fmt.Sprintf("configmaps/n%d%v/o%d", c.writes, c.fenced, i)), Data: object("o", i)})
				})
			}
			wait.Wait()
			if err := errors.Join(errs...); c.want == nil && err != nil || !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", errs[0], c.want)
			}
		})
	}
}

// What a server that went has not answered it never answers: whoever asked learns of it when
// the connection ends, not when their time is over.
func TestAQuestionEndsWithTheConnection(t *testing.T) {
	l, line := onLine(t, bustest.Server(t))
	line.losing(func(_ string, payload []byte) bool { return isInfo(payload) })
	asked := make(chan error, 1)
	go func() { // ends with the question
		_, err := l.Conn.StreamState(t.Context(), "STATE")
		asked <- err
	}()
	until(t, func() bool { return line.losses() > 0 })
	line.cut()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
