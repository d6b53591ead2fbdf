package shim

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/cgroup"
)

// runtimeLimit bounds one call of the OCI runtime; beyond it the runtime is taken to hang and is killed.
const runtimeLimit = 2 * time.Minute

// drainLimit bounds how long a container's end waits for output that someone else still holds open.
const drainLimit = 2 * time.Second

// container is one container of the pod, from start to forget.
type container struct {
	id   string
	req  StartRequest
	log  *logFile
	done chan struct{} // closed when the end has been written and told

	out sinks

	mu      sync.Mutex
	status  Status
	stdin   *os.File // our end of the process's standard input
	console *os.File // the terminal's master, with TTY
}

func (c *container) snapshot() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// start runs a prepared bundle and answers when the process runs or could not be started.
func (s *server) start(conn *Conn, req *Request) error {
	if req.Start == nil || req.ID == "" || strings.ContainsRune(req.ID, '/') {
		return &Error{KindInternal, "incomplete start request"}
	}
	c := &container{id: req.ID, req: *req.Start, done: make(chan struct{}), status: Status{ID: req.ID}}
	s.mu.Lock()
	if s.containers[c.id] != nil || s.barred[c.id] {
		s.mu.Unlock()
		return &Error{KindInternal, "container has been started before"}
	}
	s.containers[c.id] = c
	s.mu.Unlock()

	if err := s.launch(c); err != nil {
		now := time.Now().UTC()
		c.mu.Lock()
		c.status.ExitCode, c.status.Error, c.status.StartedAt, c.status.FinishedAt = 128, err.Error(), now, now
		c.mu.Unlock()
		_ = writeFile(statusPath(c.id), c.snapshot())
		if c.log != nil {
			c.log.close()
		}
		s.cleanUp(c)
		close(c.done)
		if conn.Send(failure(err)) != nil { // who asked is gone; another may listen
			s.publish(c.snapshot())
		}
		return nil
	}
	st := c.snapshot()
	_ = conn.Send(Reply{PID: st.PID, Status: &st})
	return nil
}

func (s *server) launch(c *container) error {
	var err error
	if c.log, err = openLog(c.req.LogPath, s.cfg.LogMaxSize, s.cfg.LogMaxFiles); err != nil {
		return err
	}
	stdio, err := c.openStdio()
	if err != nil {
		return err
	}
	defer stdio.closeTheirs()

	args := []string{"run", "--detach", "--bundle", ".", "--pid-file", "pid"}
	if stdio.console != nil {
		args = append(args, "--console-socket", filepath.Base(stdio.console.path))
	}
	done := s.reap.expect()
	defer done()
	pid, err := s.callRuntime(c.req.Runtime, c.id, append(args, c.id), stdio.theirs)
	if err != nil {
		stdio.closeOurs()
		return err
	}
	if stdio.console != nil {
		if c.console, err = stdio.console.receive(); err != nil {
			cgroup.Kill(c.req.Cgroups)
			return err
		}
		c.stdin = c.console
		stdio.stdout = c.console
	}
	ended := s.reap.claim(pid)
	stdio.closeTheirs()

	c.mu.Lock()
	c.status.PID, c.status.Running, c.status.StartedAt = pid, true, time.Now().UTC()
	c.mu.Unlock()
	_ = writeFile(statusPath(c.id), c.snapshot())
	s.publish(c.snapshot())

	var copies sync.WaitGroup
	readers := []*os.File{stdio.stdout}
	copies.Go(func() { c.copyOut(stdio.stdout, "stdout") })
	if stdio.stderr != nil {
		readers = append(readers, stdio.stderr)
		copies.Go(func() { c.copyOut(stdio.stderr, "stderr") })
	}
	go func() { // ends with the container
		status := <-ended
		s.finish(c, status, &copies, readers)
	}()
	return nil
}

// callRuntime runs the OCI runtime in dir and gives the pid it wrote to the file named by --pid-file. The error is
// the runtime's own sentence.
func (s *server) callRuntime(runtime, dir string, args []string, stdio [3]int) (int, error) {
	pidFile := ""
	for i, a := range args {
		if a == "--pid-file" {
			pidFile = filepath.Join(dir, args[i+1])
		}
	}
	logFile := pidFile + ".log"
	argv := append([]string{filepath.Base(runtime), "--root", s.cfg.RuntimeRoot,
		"--log", filepath.Base(logFile), "--log-format", "json"}, args...)
	child, ended, err := s.reap.start(runtime, argv, &syscall.ProcAttr{
		Dir:   dir,
		Env:   []string{"PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR="},
		Files: []uintptr{uintptr(stdio[0]), uintptr(stdio[1]), uintptr(stdio[2])},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return 0, &Error{KindRuntime, runtime + ": " + err.Error()}
	}
	status, err := s.await(child, ended)
	defer os.Remove(logFile)
	if err != nil {
		return 0, err
	}
	if !status.Exited() || status.ExitStatus() != 0 {
		return 0, &Error{KindRuntime, runtimeMessage(logFile)}
	}
	data, err := os.ReadFile(pidFile)
	defer os.Remove(pidFile)
	if err != nil {
		return 0, &Error{KindRuntime, "the OCI runtime left no pid: " + err.Error()}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 0 {
		return 0, &Error{KindRuntime, "the OCI runtime left a pid that is none: " + string(data)}
	}
	return pid, nil
}

// await waits for a call of the OCI runtime and kills it when it hangs.
func (s *server) await(pid int, ended <-chan unix.WaitStatus) (unix.WaitStatus, error) {
	limit := time.NewTimer(runtimeLimit)
	defer limit.Stop()
	select {
	case status := <-ended:
		return status, nil
	case <-limit.C:
		_ = s.reap.signal(-pid, syscall.SIGKILL)
		return 0, &Error{KindRuntime, "the OCI runtime did not answer in " + runtimeLimit.String()}
	}
}

// runtimeMessage is the last error in a runtime's JSON log.
func runtimeMessage(path string) string {
	data, _ := os.ReadFile(path)
	message := ""
	for _, line := range bytes.Split(data, []byte("\n")) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg != "" && (entry.Level == "error" || entry.Level == "fatal") {
			message = entry.Msg
		}
	}
	if message == "" {
		message = "the OCI runtime failed and did not say why"
	}
	return message
}

// finish makes a container's end known: kill what is left, drain the output, write it down, tell it, clean up.
func (s *server) finish(c *container, status unix.WaitStatus, copies *sync.WaitGroup, readers []*os.File) {
	finished := time.Now().UTC()
	cgroup.Kill(c.req.Cgroups)
	oom := cgroup.OOMKills(c.req.Cgroups) > 0
	drained := make(chan struct{})
	go func() { copies.Wait(); close(drained) }() // ends when the readers do, at the latest when they are closed
	limit := time.NewTimer(drainLimit)
	select {
	case <-drained:
	case <-limit.C:
	}
	limit.Stop()
	for _, r := range readers {
		r.Close()
	}
	<-drained
	c.log.close()

	c.mu.Lock()
	if c.stdin != nil {
		c.stdin.Close()
		c.stdin, c.console = nil, nil
	}
	st := &c.status
	st.Running, st.FinishedAt, st.OOMKilled = false, finished, oom
	st.ExitCode = status.ExitStatus()
	if status.Signaled() {
		st.Signal = int(status.Signal())
		st.ExitCode = 128 + st.Signal
	}
	c.mu.Unlock()
	_ = writeFile(statusPath(c.id), c.snapshot())
	s.publish(c.snapshot())
	c.out.close()
	s.cleanUp(c)
	close(c.done)
}

// cleanUp removes what the OCI runtime made. For runc that is done by hand, as `runc delete` waits 100 ms.
func (s *server) cleanUp(c *container) {
	if c.req.Direct {
		_ = os.RemoveAll(filepath.Join(s.cfg.RuntimeRoot, c.id))
	} else {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err == nil {
			defer null.Close()
			fd := null.Fd()
			pid, ended, err := s.reap.start(c.req.Runtime, []string{filepath.Base(c.req.Runtime), "--root", s.cfg.RuntimeRoot,
				"delete", "--force", c.id}, &syscall.ProcAttr{Dir: "/", Env: os.Environ(),
				Files: []uintptr{fd, fd, fd}, Sys: &syscall.SysProcAttr{Setpgid: true}})
			if err == nil {
				_, _ = s.await(pid, ended)
			}
		}
	}
	_ = cgroup.Remove(c.req.Cgroups, time.Second)
}

// stdio is both ends of a container's first three descriptors.
type stdio struct {
	theirs  [3]int // handed to the runtime
	stdout  *os.File
	stderr  *os.File
	console *console
	stdin   *os.File
}

func (c *container) openStdio() (_ *stdio, err error) {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	io := &stdio{theirs: [3]int{null, -1, -1}}
	defer func() {
		if err != nil {
			io.closeTheirs()
			io.closeOurs()
		}
	}()
	if c.req.TTY {
		io.theirs = [3]int{null, null, null}
		io.console, err = listenConsole(filepath.Join(c.id, "con"))
		return io, err
	}
	if io.stdout, io.theirs[1], err = outputPipe(); err != nil {
		return nil, err
	}
	if io.stderr, io.theirs[2], err = outputPipe(); err != nil {
		return nil, err
	}
	if c.req.Stdin {
		var p [2]int
		if err = unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return nil, err
		}
		unix.Close(null)
		io.theirs[0] = p[0]
		if err = unix.SetNonblock(p[1], true); err != nil {
			unix.Close(p[1])
			return nil, err
		}
		io.stdin = os.NewFile(uintptr(p[1]), "stdin")
		c.stdin = io.stdin
	}
	return io, nil
}

// outputPipe gives a reading end for the poller and a blocking writing end for the container.
func outputPipe() (*os.File, int, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, err
	}
	if err := unix.SetNonblock(p[0], true); err != nil {
		unix.Close(p[0])
		unix.Close(p[1])
		return nil, -1, err
	}
	return os.NewFile(uintptr(p[0]), "output"), p[1], nil
}

// closeTheirs closes the container's ends in this process and may be called twice.
func (s *stdio) closeTheirs() {
	for i, fd := range s.theirs {
		if fd >= 0 && (i == 0 || fd != s.theirs[0]) {
			unix.Close(fd)
		}
	}
	s.theirs = [3]int{-1, -1, -1}
	if s.console != nil {
		s.console.close()
		s.console = nil
	}
}

func (s *stdio) closeOurs() {
	for _, f := range []*os.File{s.stdin, s.stdout, s.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// buffers are shared by all output copies: a container that is silent holds none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// copyOut moves output into the log and to whoever is attached, until its end.
func (c *container) copyOut(from *os.File, name string) {
	raw, err := from.SyscallConn()
	if err != nil {
		return
	}
	s := &stream{log: c.log, name: name}
	defer func() { s.end(time.Now().UTC()) }()
	for {
		var buf *[]byte
		var n int
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			buf = buffers.Get().(*[]byte)
			n, readErr = unix.Read(int(fd), *buf)
			if readErr == unix.EAGAIN {
				buffers.Put(buf)
				return false
			}
			return true
		})
		if err != nil { // closed
			return
		}
		if readErr == unix.EINTR {
			buffers.Put(buf)
			continue
		}
		if n > 0 && readErr == nil {
			s.write((*buf)[:n], time.Now().UTC())
			c.out.write(name, (*buf)[:n])
		}
		buffers.Put(buf)
		if n <= 0 || readErr != nil { // a terminal ends with EIO
			return
		}
	}
}

var errClosed = errors.New("closed")
