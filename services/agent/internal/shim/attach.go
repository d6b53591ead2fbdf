package shim

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// attachPatience is how long an attached reader may hold up a container's output before it is dropped.
const attachPatience = 10 * time.Second

// sinks are the outputs of those who are attached.
type sinks struct {
	mu     sync.Mutex
	list   []*sink
	closed bool
}

type sink struct {
	stdout, stderr *os.File
	gone           chan struct{}
	once           sync.Once
}

func (s *sink) drop() { s.once.Do(func() { close(s.gone) }) }

func (s *sinks) add(k *sink) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.list = append(s.list, k)
	return nil
}

func (s *sinks) remove(k *sink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.list {
		if other == k {
			s.list = append(s.list[:i], s.list[i+1:]...)
			break
		}
	}
	for _, f := range []*os.File{k.stdout, k.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

func (s *sinks) write(name string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.list {
		f := k.stdout
		if name == "stderr" {
			f = k.stderr
		}
		select {
		case <-k.gone:
			continue
		default:
		}
		if f == nil {
			continue
		}
		_ = f.SetWriteDeadline(time.Now().Add(attachPatience))
		if _, err := f.Write(data); err != nil {
			k.drop()
		}
	}
}

// close lets go of everybody; all output has been written by then.
func (s *sinks) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, k := range s.list {
		k.drop()
	}
}

// attach connects the passed descriptors until the container ends or the peer closes the connection.
func (s *server) attach(conn *Conn, req *Request, passed *files) error {
	c, err := s.container(req.ID)
	if err != nil {
		return err
	}
	if req.Attach == nil {
		return &Error{KindInternal, "incomplete attach request"}
	}
	stdin := pollable(passed.take(req.Attach.Stdin))
	k := &sink{gone: make(chan struct{})}
	k.stdout = pollable(passed.take(req.Attach.Stdout))
	k.stderr = pollable(passed.take(req.Attach.Stderr))
	if stdin != nil {
		defer stdin.Close()
	}
	if err := c.out.add(k); err != nil {
		c.out.remove(k)
		return &Error{KindNotRunning, "container is not running"}
	}
	defer c.out.remove(k)
	if err := conn.Send(Reply{PID: c.snapshot().PID}); err != nil {
		return err
	}
	if stdin != nil {
		go func() { // ends when stdin is closed, above at the latest
			if c.copyIn(stdin) {
				k.drop()
			}
		}()
	}
	go func() { // ends when the peer closes or serve does
		var ignored Request
		_, _ = conn.Recv(&ignored)
		k.drop()
	}()
	<-k.gone
	return nil
}

// copyIn feeds the container's standard input. At the end of what is fed, a
// container with StdinOnce sees the end and goes on to be watched; from any other
// container one is to be detached, as the answer says.
func (c *container) copyIn(from *os.File) (detach bool) {
	buf := make([]byte, 8<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			c.mu.Lock()
			to := c.stdin
			c.mu.Unlock()
			if to == nil {
				return false
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return false
			}
		}
		if err != nil {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stdin == nil {
		return false
	}
	if !c.req.StdinOnce || c.stdin == c.console {
		return true
	}
	c.stdin.Close()
	c.stdin = nil
	return false
}

// pollable makes a received descriptor one that can be closed while a read waits and that knows deadlines.
func pollable(f *os.File) *os.File {
	if f == nil {
		return nil
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	f.Close()
	if err != nil {
		return nil
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), "attached")
}
