package tunnel

import (
	"errors"
	"io"
	"sync"

	"kubus.dev/proto/message"
)

// Channel is one pipe of a tunnel: an io.ReadWriteCloser whose Close is the half
// close of our writing side. One reader and one writer at a time.
type Channel struct {
	t  *Tunnel
	id uint32

	// Guarded by the tunnel's lock.
	readable   sync.Cond
	writable   sync.Cond
	buffer     []byte
	consumed   uint64 // bytes read by us, ever
	told       uint64 // of these, what the peer knows
	sent       uint64 // bytes sent by us, ever
	credit     uint64 // of these, what the peer has read
	peerClosed bool
	closed     bool
}

// Read gives what came, waiting for at least one byte. After the peer's half
// close or the orderly end of the tunnel it is io.EOF, else the tunnel's error.
func (c *Channel) Read(p []byte) (int, error) {
	t := c.t
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(c.buffer) == 0 {
		if c.peerClosed {
			return 0, io.EOF
		}
		if t.ended {
			return 0, t.err
		}
		c.readable.Wait()
	}
	n := copy(p, c.buffer)
	if n == len(c.buffer) {
		c.buffer = c.buffer[:0]
		if cap(c.buffer) > Window {
			c.buffer = nil
		}
	} else {
		c.buffer = c.buffer[n:]
	}
	c.consumed += uint64(n)
	if c.consumed-c.told >= Window/4 && !t.ended {
		c.told = c.consumed
		t.send(&message.TunnelFrame{Channel: c.id, Credit: c.told})
	}
	return n, nil
}

// Write sends p, waiting while the peer has a full window unread.
func (c *Channel) Write(p []byte) (int, error) {
	t := c.t
	written := 0
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(p) > 0 {
		for !t.ended && !c.closed && c.sent-c.credit >= Window {
			c.writable.Wait()
		}
		if c.closed {
			return written, io.ErrClosedPipe
		}
		if t.ended {
			if errors.Is(t.err, io.EOF) {
				return written, io.ErrClosedPipe
			}
			return written, t.err
		}
		n := min(len(p), chunk, int(Window-(c.sent-c.credit)))
		t.send(&message.TunnelFrame{Channel: c.id, Data: p[:n]})
		c.sent += uint64(n)
		written += n
		p = p[n:]
	}
	return written, nil
}

// Close tells the peer that we write no more on this channel. Reading goes on.
func (c *Channel) Close() error {
	t := c.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.writable.Broadcast()
		if !t.ended {
			t.send(&message.TunnelFrame{Channel: c.id, CloseChannel: true})
		}
	}
	return nil
}
