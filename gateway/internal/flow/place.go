package flow

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// How long a client may take for what is written to it: after patience its request gives
// up its seat and its turn, so that who does not read keeps nobody from anything; after
// unreadFor it is cut off.
const (
	patience  = 50 * time.Millisecond
	unreadFor = 30 * time.Second
)

// place is what a request occupies while it is served: a seat, a place among what its
// user has in hand, and where it is costly a turn in the lane. All are given back before the request ends: while the client
// does not take what is written (the turn is taken again afterwards, the others are not),
// and for a watch once it has begun. While another server is asked only the seat is kept.
type place struct {
	lane  *lane
	crowd *crowd
	user  string
	ctx   context.Context // of the request
	seat  func()          // gives the seat back; may be called again

	mu     sync.Mutex
	inHand bool // it counts among what its user has in hand
	costly bool // it is to have a turn
	turn   bool // it has it
	waits  bool // for its seat, or for its client
	late   bool // a deadline for that client is set
	// away counts the waits for other servers; returns: it was in hand before them.
	away    int
	returns bool

	timer *time.Timer // ends patience; used by the request alone
}

// Signal is told that a watch has begun: what it costs from now on is not the place's.
func (p *place) Signal() {
	p.seat()
	p.mu.Lock()
	had, inHand := p.turn, p.inHand
	p.costly, p.turn, p.inHand, p.returns = false, false, false, false
	p.mu.Unlock()
	if had {
		p.lane.leave()
	}
	if inHand {
		p.crowd.leave(p.user)
	}
}

// Wait is for those who wait for the signal; nobody waits for this one.
func (p *place) Wait() {}

// yield gives the turn up while the request waits.
func (p *place) yield() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits && p.turn {
		p.turn = false
		p.lane.leave()
	}
}

// resume ends a wait, with a turn where there is to be one.
func (p *place) resume() {
	p.mu.Lock()
	p.waits = false
	again := p.costly && !p.turn && p.away == 0
	p.mu.Unlock()
	if !again || p.lane.enter(p.ctx, p.user, 0) != nil { // its time is over: what follows fails by itself
		return
	}
	p.mu.Lock()
	p.turn = true
	p.mu.Unlock()
}

// while runs a write to the client.
func (p *place) while(out *http.ResponseController, write func()) {
	p.mu.Lock()
	p.waits = true
	p.mu.Unlock()
	if p.timer == nil {
		p.timer = time.AfterFunc(patience, func() { p.lose(out) })
	} else {
		p.timer.Reset(patience)
	}
	write()
	p.timer.Stop()
	p.mu.Lock()
	p.waits = false
	late := p.late
	p.late = false
	p.mu.Unlock()
	if late {
		_ = out.SetWriteDeadline(time.Time{})
	}
	p.resume()
}

// lose gives the place up, unless the write has ended meanwhile.
func (p *place) lose(out *http.ResponseController) {
	p.yield()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits {
		// What is no connection of the network's has no deadlines.
		p.late = out.SetWriteDeadline(time.Now().Add(unreadFor)) == nil
		p.seat()
		if p.inHand {
			p.inHand = false
			p.crowd.leave(p.user)
		}
	}
}

// writer writes an answer from a place.
type writer struct {
	http.ResponseWriter
	p   *place
	out *http.ResponseController
}

// piece is how much a client has to take within the time it has.
const piece = 64 << 10

func (w *writer) Write(data []byte) (n int, err error) {
	for {
		var wrote int
		w.p.while(w.out, func() { wrote, err = w.ResponseWriter.Write(data[:min(len(data), piece)]) })
		if n += wrote; err != nil || wrote == len(data) {
			return n, err
		}
		data = data[wrote:]
	}
}

// FlushError is what http.ResponseController looks for first.
func (w *writer) FlushError() (err error) {
	w.p.while(w.out, func() { err = w.out.Flush() })
	return err
}

// Flush sends what was written; a client that is gone is noticed by the next write.
func (w *writer) Flush() { _ = w.FlushError() }

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack takes the connection over: what follows is not written from the place.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.p.Signal()
	return w.out.Hijack()
}
