package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/shim"
)

// quietAfterExit is how long output may pause, after the process has ended, before what still holds the pipe open
// is taken to be a process it left behind.
const quietAfterExit = 200 * time.Millisecond

// Exec implements Runtime. Its reader of opts.Stdin may outlive the call until that reader returns.
func (n *Node) Exec(ctx context.Context, id string, opts ExecOptions) (int, error) {
	c, err := n.container(id)
	if err != nil {
		return 0, err
	}
	if !c.running() {
		return 0, ErrNotRunning
	}
	file, err := c.writeProcess(opts)
	if err != nil {
		return 0, err
	}
	starting, cancel := ctx, context.CancelFunc(func() {})
	if opts.Timeout > 0 {
		starting, cancel = context.WithTimeoutCause(ctx, opts.Timeout, ErrExecTimeout)
	}
	defer cancel()
	conn, err := c.sandbox.dial(starting)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	streams, err := newStreams(opts)
	if err != nil {
		return 0, err
	}
	defer streams.close()
	req := &shim.Request{Op: shim.OpExec, ID: id, Exec: &shim.ExecRequest{Process: file, TTY: opts.TTY,
		Stdin: streams.stdin != nil, Stdout: streams.stdout != nil, Stderr: streams.stderr != nil}}
	if err := conn.Send(req, streams.theirs...); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrShimLost, err)
	}
	streams.closeTheirs()
	if err := streams.started(starting, conn, opts); err != nil {
		return 0, err
	}
	streams.copy(opts)
	return streams.wait(ctx, conn, opts.Timeout)
}

// writeProcess makes the OCI process of an exec from that of the container.
func (c *container) writeProcess(opts ExecOptions) (string, error) {
	spec, err := c.readSpec()
	if err != nil {
		return "", fmt.Errorf("reading the container's spec: %w", err)
	}
	p := spec.Process
	p.Args, p.Terminal, p.ConsoleSize, p.OOMScoreAdj = opts.Command, opts.TTY, nil, nil
	if opts.TTY {
		p.Env = append(p.Env, "TERM=xterm")
	}
	data, err := json.Marshal((*specs.Process)(p))
	if err != nil {
		return "", err
	}
	name := "exec-" + newID()[:16] + ".json"
	return name, os.WriteFile(filepath.Join(c.sandbox.dir, name), data, 0o600)
}

// streams are our ends of a process's descriptors, or its terminal.
type streams struct {
	theirs                []int
	stdin, stdout, stderr *os.File
	terminal              *os.File
	outputs               sync.WaitGroup
}

func newStreams(opts ExecOptions) (_ *streams, err error) {
	s := &streams{}
	if opts.TTY {
		return s, nil
	}
	defer func() {
		if err != nil {
			s.closeTheirs()
			s.close()
		}
	}()
	if opts.Stdin != nil {
		if s.stdin, err = s.pipe(true); err != nil {
			return nil, err
		}
	}
	if opts.Stdout != nil {
		if s.stdout, err = s.pipe(false); err != nil {
			return nil, err
		}
	}
	if opts.Stderr != nil {
		if s.stderr, err = s.pipe(false); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// pipe keeps one end, which knows deadlines, and puts the other, which blocks, with those to send.
func (s *streams) pipe(weWrite bool) (*os.File, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	ours, theirs := p[0], p[1]
	if weWrite {
		ours, theirs = p[1], p[0]
	}
	s.theirs = append(s.theirs, theirs)
	if err := unix.SetNonblock(ours, true); err != nil {
		unix.Close(ours)
		return nil, err
	}
	return os.NewFile(uintptr(ours), "pipe"), nil
}

func (s *streams) closeTheirs() {
	for _, fd := range s.theirs {
		unix.Close(fd)
	}
	s.theirs = nil
}

func (s *streams) close() {
	for _, f := range []*os.File{s.stdin, s.stdout, s.stderr, s.terminal} {
		if f != nil {
			f.Close()
		}
	}
}

// started waits for the process to run. Output is not read before: the OCI runtime writes its errors there too.
func (s *streams) started(ctx context.Context, conn *shim.Conn, opts ExecOptions) error {
	stop := context.AfterFunc(ctx, func() {
		_ = conn.Send(killExec) // it may have been started just now
		conn.Close()
	})
	var reply shim.Reply
	fds, err := conn.Recv(&reply)
	if !stop() && err == nil {
		err = net.ErrClosed
	}
	for i, fd := range fds {
		if i == 0 && opts.TTY && unix.SetNonblock(fd, true) == nil {
			s.terminal = os.NewFile(uintptr(fd), "terminal")
		} else {
			unix.Close(fd)
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: %w", ErrShimLost, err)
	}
	var refused *shim.Error
	if errors.As(reply.Err(), &refused) && refused.Kind == shim.KindRuntime {
		return errors.New("OCI runtime exec failed: " + refused.Message)
	}
	if err := toError(reply.Err()); err != nil {
		return err
	}
	if opts.TTY && s.terminal == nil {
		return errors.New("the shim sent no terminal")
	}
	return nil
}

func (s *streams) copy(opts ExecOptions) {
	if s.terminal != nil {
		if opts.Stdin != nil {
			go func() { _, _ = io.Copy(s.terminal, opts.Stdin) }() // ends with Stdin or when the terminal is closed
		}
		s.copyOut(opts.Stdout, s.terminal)
		if opts.Resize != nil {
			go resize(s.terminal, opts.Resize) // ends when the caller closes Resize or the terminal is closed
		}
		return
	}
	if s.stdin != nil {
		go func() { // ends with Stdin or when the process no longer reads
			_, _ = io.Copy(s.stdin, opts.Stdin)
			s.stdin.Close()
		}()
	}
	s.copyOut(opts.Stdout, s.stdout)
	s.copyOut(opts.Stderr, s.stderr)
}

func (s *streams) copyOut(to io.Writer, from *os.File) {
	if from == nil {
		return
	}
	if to == nil {
		to = io.Discard
	}
	s.outputs.Go(func() {
		_, _ = io.Copy(onlyWriter{to}, from) // ends at its end, or by drain's deadline
	})
}

// onlyWriter hides ReadFrom, so that io.Copy asks our own end for data and its deadline counts.
type onlyWriter struct{ io.Writer }

func resize(f *os.File, sizes <-chan Size) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	for size := range sizes {
		err := raw.Control(func(fd uintptr) {
			_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: size.Width, Row: size.Height})
		})
		if err != nil {
			return
		}
	}
}

// killExec ends a process that was executed, with its descendants.
var killExec = &shim.Request{Op: shim.OpSignal, Signal: int(unix.SIGKILL), All: true}

// wait gives the exit code after the output has been copied.
func (s *streams) wait(ctx context.Context, conn *shim.Conn, timeout time.Duration) (int, error) {
	ended := make(chan error, 1)
	var reply shim.Reply
	go func() { // ends with the process or its connection
		_, err := conn.Recv(&reply)
		ended <- err
	}()
	var expired <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	var cause error
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		cause = ctx.Err()
	case <-expired:
		cause = ErrExecTimeout
	}
	if cause != nil {
		if conn.Send(killExec) == nil {
			select {
			case <-ended:
			case <-time.After(stopPatience):
			}
		}
		conn.Close()
		s.drain()
		return 0, cause
	}
	s.drain()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrShimLost, err)
	}
	if reply.Exit == nil {
		return 0, errors.New("the shim told no exit code")
	}
	return *reply.Exit, nil
}

// drain lets the copies finish. A process that was left behind may hold the pipe; it is not waited for.
func (s *streams) drain() {
	done := make(chan struct{})
	go func() { s.outputs.Wait(); close(done) }() // ends when the copies do
	for {
		select {
		case <-done:
			return
		case <-time.After(quietAfterExit):
		}
		// Whatever is in a pipe is read before its deadline counts, so only an empty one ends here.
		for _, f := range []*os.File{s.stdout, s.stderr, s.terminal} {
			if f != nil && !readable(f) {
				_ = f.SetReadDeadline(time.Now())
			}
		}
	}
}

// readable tells whether a read would give data.
func readable(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	ready := false
	_ = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		ready = err == nil && n > 0 && p[0].Revents&unix.POLLIN != 0
	})
	return ready
}

// Attach implements Runtime.
func (n *Node) Attach(ctx context.Context, id string, opts AttachOptions) error {
	c, err := n.container(id)
	if err != nil {
		return err
	}
	if !c.running() {
		return ErrNotRunning
	}
	conn, err := c.sandbox.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	s, err := newStreams(ExecOptions{Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr})
	if err != nil {
		return err
	}
	defer s.close()
	req := &shim.Request{Op: shim.OpAttach, ID: id, Attach: &shim.AttachRequest{Stdin: s.stdin != nil, Stdout: s.stdout != nil,
		Stderr: s.stderr != nil}}
	if err := conn.Send(req, s.theirs...); err != nil {
		return fmt.Errorf("%w: %w", ErrShimLost, err)
	}
	s.closeTheirs()
	if err := s.started(ctx, conn, ExecOptions{}); err != nil {
		return err
	}
	s.copy(ExecOptions{Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr})
	stop := make(chan struct{})
	defer close(stop)
	if opts.Resize != nil {
		go c.resizeFrom(ctx, opts.Resize, stop) // ends with the call or when the caller closes Resize
	}
	ended := make(chan struct{})
	go func() { // ends with the container or the connection
		defer close(ended)
		var reply shim.Reply
		_, _ = conn.Recv(&reply)
	}()
	select {
	case <-ended:
		s.drain()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *container) resizeFrom(ctx context.Context, sizes <-chan Size, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			_, _ = c.sandbox.ask(ctx, &shim.Request{Op: shim.OpResize, ID: c.record.ID, Width: size.Width, Height: size.Height})
		}
	}
}
