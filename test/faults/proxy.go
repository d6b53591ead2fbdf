package faults

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy stands between a gateway and the stores. It passes on what comes, cuts
// connections, keeps acknowledgements back, and is slow, as it is told.
type proxy struct {
	listeners []net.Listener
	lose      atomic.Int64 // of 1000 acknowledgements that many are lost
	lag       atomic.Int64 // nanoseconds that what the store says is under way
	lost      atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newProxy(t testing.TB, to []string) *proxy {
	t.Helper()
	p := &proxy{conns: map[net.Conn]bool{}}
	for _, address := range to {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p.listeners = append(p.listeners, l)
		go p.accept(l, address) // ends with the listener
	}
	t.Cleanup(func() {
		for _, l := range p.listeners {
			l.Close()
		}
		p.cut()
	})
	return p
}

func (p *proxy) addresses() []string {
	var out []string
	for _, l := range p.listeners {
		out = append(out, l.Addr().String())
	}
	return out
}

func (p *proxy) accept(l net.Listener, to string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.DialTimeout("tcp", to, time.Second)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in], p.conns[out] = true, true
		p.mu.Unlock()
		end := sync.OnceFunc(func() {
			in.Close()
			out.Close()
			p.mu.Lock()
			delete(p.conns, in)
			delete(p.conns, out)
			p.mu.Unlock()
		})
		go func() { // both end when either side does
			_, _ = io.Copy(out, in)
			end()
		}()
		go func() {
			p.answers(in, out)
			end()
		}()
	}
}

// cut ends all connections; new ones may be made at once.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// answers passes on what the store says, message by message.
func (p *proxy) answers(to io.Writer, from io.Reader) {
	type sent struct {
		data []byte
		at   time.Time
	}
	queue := make(chan sent, 1<<14) // what is under way
	done := make(chan struct{})
	go func() {
		defer close(done)
		out := bufio.NewWriterSize(to, 64<<10)
		for s := range queue {
			if wait := time.Until(s.at); wait > 0 {
				_ = out.Flush()
				time.Sleep(wait)
			}
			if _, err := out.Write(s.data); err != nil {
				for range queue { // until the reader notices
				}
				return
			}
			if len(queue) == 0 && out.Flush() != nil {
				for range queue {
				}
				return
			}
		}
	}()
	in := bufio.NewReaderSize(from, 64<<10)
	for {
		m, err := readFrame(in)
		if err != nil {
			break
		}
		if isAck(m) && rand.Int64N(1000) < p.lose.Load() {
			p.lost.Add(1)
			continue
		}
		queue <- sent{m, time.Now().Add(time.Duration(p.lag.Load()))}
	}
	close(queue)
	<-done
}

// readFrame reads one line of the NATS protocol, and the payload that a message has.
func readFrame(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(line[:min(len(line), 4<<10)]))
	if len(fields) < 4 || fields[0] != "MSG" && fields[0] != "HMSG" {
		return line, nil
	}
	size, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil {
		return nil, fmt.Errorf("not a message: %q", line)
	}
	m := append(line, make([]byte, size+2)...)
	_, err = io.ReadFull(in, m[len(line):])
	return m, err
}

// isAck tells whether a message acknowledges that something was stored.
func isAck(m []byte) bool {
	line, payload, _ := bytes.Cut(m, []byte("\r\n"))
	return bytes.Contains(line, []byte("INBOX")) && bytes.HasPrefix(payload, []byte(`{"stream":"`)) && bytes.Contains(payload, []byte(`"seq":`))
}
