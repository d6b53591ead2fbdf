package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
)

const (
	// Window is how many bytes of one channel may be on their way unread.
	Window = 256 << 10
	// chunk is the most that one frame carries.
	chunk = 32 << 10
	// alive: both sides say something at least this often, and hear at once when
	// the other is no longer there; silence of three times as long breaks the
	// tunnel as well.
	alive = 15 * time.Second
	// Channels is how many channels a tunnel has: their numbers are below it.
	Channels = 8
	// backlog is how many bytes may wait to be looked at before the bus drops frames,
	// which breaks the tunnel.
	backlog = 4 * Channels * Window
	// noChannel marks frames that belong to the tunnel as a whole.
	noChannel = 1 << 16
)

// ErrBroken: the peer or the bus is gone, or a frame was lost.
var ErrBroken = errors.New("the tunnel is broken")

// Error is the failure that the other side ended the tunnel with; its text is
// fit for a user.
type Error struct{ Text string }

func (e *Error) Error() string { return e.Text }

// Tunnel is one side of a tunnel.
type Tunnel struct {
	conn  *bus.Conn
	peer  string // where our frames go
	inbox string // where the peer's frames come
	sub   *bus.Subscription

	takes channels // what the peer may send data on

	done chan struct{} // closed at the end

	mu       sync.Mutex
	hello    *bus.Subscription // of the side that dialled
	channels map[uint32]*Channel
	sendSeq  uint64
	recvSeq  uint64
	heard    time.Time
	err      error // why it ended; io.EOF for an orderly end
	ended    bool
}

// channels is how many of the channels the peer sends on: those of the lowest numbers.
type channels uint32

// Dial opens a tunnel to whoever serves subject and waits until it answers. A
// refusal is an *Error, nobody there bus.ErrNoResponders.
func (s Side) Dial(ctx context.Context, conn *bus.Conn, subject string, open *message.TunnelOpen) (*Tunnel, error) {
	inbox := s.inbox(conn)
	t := newTunnel(conn, "", inbox, s.channels)
	sub, err := conn.SubscribeWithin(inbox, backlog, t.receive)
	if err != nil {
		return nil, err
	}
	t.sub = sub
	req := &message.TunnelOpen{Kind: open.Kind, Request: open.Request, Inbox: inbox}
	data, err := proto.Marshal(req)
	if err != nil {
		sub.Stop()
		return nil, fmt.Errorf("opening a tunnel: %w", err)
	}
	answer, err := conn.RequestAt(ctx, subject, inbox+".hello", data)
	if err != nil {
		sub.Stop()
		return nil, err
	}
	var welcome message.TunnelFrame
	if err := proto.Unmarshal(answer, &welcome); err != nil || !s.maySend(welcome.Inbox) {
		sub.Stop()
		if welcome.Error != "" {
			return nil, &Error{welcome.Error}
		}
		return nil, fmt.Errorf("opening a tunnel: unreadable answer: %w", ErrBroken)
	}
	t.mu.Lock()
	t.peer = welcome.Inbox
	t.mu.Unlock()
	// A gateway that starts says hello: perhaps in place of the one we speak to.
	hello, err := conn.Subscribe(kubus.GatewayHelloSubject, "", func(*bus.Msg) { t.probe() })
	if err != nil {
		t.Close(nil)
		return nil, err
	}
	t.mu.Lock()
	t.hello = hello
	if t.ended { // the peer was quicker
		hello.Stop()
	}
	t.mu.Unlock()
	go t.keepAlive()
	return t, nil
}

// Handler runs one tunnel. Its error is the end that the peer sees; the tunnel is
// closed when it returns.
type Handler func(ctx context.Context, open *message.TunnelOpen, t *Tunnel) error

// Serve accepts tunnels on a subject; each runs on a goroutine of its own. The
// handlers' contexts end with ctx, and when their tunnel breaks.
func (s Side) Serve(ctx context.Context, conn *bus.Conn, subject, queue string, h Handler) (*bus.Subscription, error) {
	return conn.Subscribe(subject, queue, func(m *bus.Msg) { s.Accept(ctx, conn, m, h) })
}

// Accept answers one opening message that arrived on a subscription of the caller's.
// One that would have us send elsewhere than to an inbox of the other end is refused.
// It tells whether the handler runs, on a goroutine of its own.
func (s Side) Accept(ctx context.Context, conn *bus.Conn, m *bus.Msg, h Handler) bool {
	open := &message.TunnelOpen{}
	if err := proto.Unmarshal(m.Data, open); err != nil || !s.maySend(open.Inbox) {
		Refuse(m, "unreadable opening of a tunnel")
		return false
	}
	if !s.quota.take(s.peer) {
		Refuse(m, "too many streams are open already")
		return false
	}
	inbox := s.inbox(conn)
	t := newTunnel(conn, open.Inbox, inbox, s.channels)
	sub, err := conn.SubscribeWithin(inbox, backlog, t.receive)
	if err != nil {
		s.quota.give(s.peer)
		Refuse(m, "the other side cannot receive: "+err.Error())
		return false
	}
	t.mu.Lock()
	t.sub = sub
	t.mu.Unlock()
	respond(m, &message.TunnelFrame{Inbox: inbox})
	go t.keepAlive()
	go func() {
		defer s.quota.give(s.peer)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-t.done:
				cancel()
			case <-ctx.Done():
			}
		}()
		t.Close(h(ctx, open, t))
	}()
	return true
}

// Refuse answers an opening message with an *Error in place of a tunnel.
func Refuse(m *bus.Msg, text string) { respond(m, &message.TunnelFrame{Error: text}) }

func respond(m *bus.Msg, f *message.TunnelFrame) {
	if data, err := proto.Marshal(f); err == nil {
		_ = m.Respond(data) // a peer that is gone will not miss it
	}
}

func newTunnel(conn *bus.Conn, peer, inbox string, takes channels) *Tunnel {
	return &Tunnel{conn: conn, peer: peer, inbox: inbox, takes: takes, done: make(chan struct{}), channels: map[uint32]*Channel{}, heard: time.Now()}
}

// Channel gives a channel, of a number below Channels; both sides name the same. The
// first call makes it.
func (t *Tunnel) Channel(id byte) *Channel {
	if id >= Channels {
		panic(fmt.Sprintf("a tunnel has no channel %d", id))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.channel(uint32(id))
}

func (t *Tunnel) channel(id uint32) *Channel {
	c := t.channels[id]
	if c == nil {
		c = &Channel{t: t, id: id}
		c.readable.L, c.writable.L = &t.mu, &t.mu
		t.channels[id] = c
	}
	return c
}

// Done is closed when the tunnel has ended.
func (t *Tunnel) Done() <-chan struct{} { return t.done }

// Err says why the tunnel ended: nil while it is up and after an orderly end, an
// *Error from the peer, or ErrBroken.
func (t *Tunnel) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.Is(t.err, io.EOF) {
		return nil
	}
	return t.err
}

// Close ends the tunnel. The peer reads what is on its way, then io.EOF, or the
// text of a non-nil err. Further calls do nothing.
func (t *Tunnel) Close(err error) {
	t.mu.Lock()
	if t.ended {
		t.mu.Unlock()
		return
	}
	f := &message.TunnelFrame{Channel: noChannel, End: true}
	if err != nil {
		f.Error = err.Error()
	}
	t.send(f)
	t.end(io.EOF)
	t.mu.Unlock()
}

// end is called with the lock held.
func (t *Tunnel) end(err error) {
	if t.ended {
		return
	}
	t.ended, t.err = true, err
	close(t.done)
	for _, c := range t.channels {
		c.readable.Broadcast()
		c.writable.Broadcast()
	}
	if t.sub != nil {
		t.sub.Stop()
	}
	if t.hello != nil {
		t.hello.Stop()
	}
}

// send is called with the lock held.
func (t *Tunnel) send(f *message.TunnelFrame) {
	t.sendSeq++
	f.Sequence = t.sendSeq
	data, err := proto.Marshal(f)
	switch {
	case err != nil:
	case f.Channel == noChannel && !f.End:
		err = t.conn.Probe(t.peer, t.inbox, data)
	default:
		err = t.conn.Publish(t.peer, data)
	}
	if err != nil {
		t.end(fmt.Errorf("%w: %w", ErrBroken, err))
	}
}

// probe asks the server whether the peer is still there.
func (t *Tunnel) probe() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.send(&message.TunnelFrame{Channel: noChannel})
	}
}

func (t *Tunnel) receive(m *bus.Msg) {
	if m.NobodyListens() {
		t.mu.Lock()
		t.end(fmt.Errorf("%w: the other side is gone", ErrBroken))
		t.mu.Unlock()
		return
	}
	f := &message.TunnelFrame{}
	if err := proto.Unmarshal(m.Data, f); err != nil {
		f = &message.TunnelFrame{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.heard = time.Now()
	t.recvSeq++
	if f.Sequence != t.recvSeq {
		t.end(fmt.Errorf("%w: frame %d came instead of %d", ErrBroken, f.Sequence, t.recvSeq))
		return
	}
	if f.End {
		err := io.EOF
		if f.Error != "" {
			err = &Error{f.Error}
		}
		t.end(err)
		return
	}
	if f.Channel == noChannel {
		return
	}
	if err := t.check(f); err != nil {
		t.end(fmt.Errorf("%w: %w", ErrBroken, err))
		return
	}
	c := t.channel(f.Channel)
	if f.Credit > c.credit {
		c.credit = f.Credit
		c.writable.Broadcast()
	}
	if len(f.Data) > 0 {
		c.buffer = append(c.buffer, f.Data...)
	}
	if f.CloseChannel {
		c.peerClosed = true
	}
	if len(f.Data) > 0 || f.CloseChannel {
		c.readable.Broadcast()
	}
}

// check refuses what no peer sends that keeps to the window: the bounds of our memory
// are ours to keep. It is called with the lock held.
func (t *Tunnel) check(f *message.TunnelFrame) error {
	if f.Channel >= Channels {
		return fmt.Errorf("a frame is for channel %d", f.Channel)
	}
	c := t.channels[f.Channel]
	var unread int
	var sent uint64
	if c != nil {
		unread, sent = len(c.buffer), c.sent
	}
	switch {
	case f.Credit > sent:
		return fmt.Errorf("of %d bytes on channel %d, %d were read", sent, f.Channel, f.Credit)
	case len(f.Data) == 0:
		return nil
	case f.Channel >= uint32(t.takes), c != nil && c.peerClosed:
		return fmt.Errorf("nothing is awaited on channel %d", f.Channel)
	case unread+len(f.Data) > Window:
		return fmt.Errorf("more than %d bytes are unread on channel %d", Window, f.Channel)
	}
	return nil
}

func (t *Tunnel) keepAlive() {
	tick := time.NewTicker(alive)
	defer tick.Stop()
	for {
		select {
		case <-t.done:
			return
		case <-tick.C:
		}
		t.mu.Lock()
		if time.Since(t.heard) > 3*alive {
			t.end(fmt.Errorf("%w: the other side is silent", ErrBroken))
		} else if !t.ended {
			t.send(&message.TunnelFrame{Channel: noChannel})
		}
		t.mu.Unlock()
	}
}
