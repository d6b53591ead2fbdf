// Package shim holds the containers of one pod: it starts them with the OCI runtime, copies their output into log
// files, keeps their exit codes and serves the agent over a unix socket. It outlives the agent.
//
// Start with Run, the shim's side, and Dial, the agent's; wire.go has what they say to each other.
//
// Promises: a container's end is on disk (status.json) before it is told to anyone; output written before the end
// is in the log by then. The package imports little, since one process of it runs beside every pod.
package shim

import (
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/cgroup"
	"kubus.dev/services/kit/file"
)

// Config is what a shim is started with: config.json in its folder, which is also its working folder.
type Config struct {
	RuntimeRoot string `json:"runtimeRoot"` // folder of the OCI runtime's state
	LogMaxSize  int64  `json:"logMaxSize"`
	LogMaxFiles int    `json:"logMaxFiles"`
}

// ConfigFile is the Config's name in the shim's folder.
const ConfigFile = "config.json"

// ListenFD is the descriptor on which the shim finds its listening socket.
const ListenFD = 3

type server struct {
	cfg  Config
	reap *reaper

	mu          sync.Mutex
	containers  map[string]*container
	barred      map[string]bool // containers that must not be started any more
	subscribers map[chan Status]struct{}
}

// Run serves until a shutdown request; the working folder is the shim's own.
func Run() error {
	data, err := os.ReadFile(ConfigFile)
	if err != nil {
		return err
	}
	s := &server{containers: map[string]*container{}, barred: map[string]bool{}, subscribers: map[chan Status]struct{}{}}
	if err := json.Unmarshal(data, &s.cfg); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	s.reap = newReaper()
	if err := unix.SetNonblock(ListenFD, true); err != nil {
		return err
	}
	unix.CloseOnExec(ListenFD)
	listener := os.NewFile(ListenFD, "listener")
	raw, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var fd int
		var acceptErr error
		if err := raw.Read(func(l uintptr) bool {
			fd, _, acceptErr = unix.Accept4(int(l), unix.SOCK_CLOEXEC)
			return acceptErr != unix.EAGAIN
		}); err != nil {
			return err
		}
		if acceptErr != nil {
			if acceptErr == unix.EMFILE || acceptErr == unix.ENFILE {
				time.Sleep(50 * time.Millisecond)
			}
			continue
		}
		conn, err := NewConn(fd)
		if err != nil {
			continue
		}
		go s.serve(conn) // ends with its connection or its request
	}
}

func (s *server) serve(conn *Conn) {
	defer conn.Close()
	var req Request
	fds, err := conn.Recv(&req)
	files := adopt(fds)
	defer files.close()
	if err != nil {
		return
	}
	switch req.Op {
	case OpStart:
		err = s.start(conn, &req)
	case OpExec:
		err = s.exec(conn, &req, files)
	case OpAttach:
		err = s.attach(conn, &req, files)
	case OpSignal:
		err = s.signal(&req)
	case OpResize:
		err = s.resize(&req)
	case OpForget:
		err = s.forget(req.ID)
	case OpSettle:
		var st Status
		if st, err = s.settle(req.ID); err == nil {
			_ = conn.Send(Reply{Status: &st})
			return
		}
	case OpSubscribe:
		s.subscribe(conn)
		return
	case OpShutdown:
		s.shutdown()
	default:
		err = &Error{KindInternal, "unknown operation " + req.Op}
	}
	reply := Reply{}
	if err != nil {
		reply = failure(err)
	} else if req.Op == OpStart || req.Op == OpExec {
		return // they have answered
	}
	_ = conn.Send(reply)
}

func failure(err error) Reply {
	var e *Error
	if errors.As(err, &e) {
		return Reply{Error: e.Message, Kind: e.Kind}
	}
	return Reply{Error: err.Error(), Kind: KindInternal}
}

func (s *server) container(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[id]
	if c == nil {
		return nil, &Error{KindNotFound, "container " + id + " is not known to the shim"}
	}
	return c, nil
}

func (s *server) signal(req *Request) error {
	c, err := s.container(req.ID)
	if err != nil {
		return err
	}
	if req.All {
		cgroup.Kill(c.req.Cgroups)
		return nil
	}
	if err := s.reap.signal(c.snapshot().PID, syscall.Signal(req.Signal)); err != nil {
		return &Error{KindNotRunning, "container is not running"}
	}
	return nil
}

func (s *server) resize(req *Request) error {
	c, err := s.container(req.ID)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.console == nil {
		return &Error{KindNotRunning, "container has no terminal"}
	}
	return setSize(c.console, req.Width, req.Height)
}

func (s *server) forget(id string) error {
	c, err := s.container(id)
	if err != nil {
		return nil
	}
	if c.snapshot().Running {
		return &Error{KindInternal, "container is still running"}
	}
	s.mu.Lock()
	delete(s.containers, id)
	s.mu.Unlock()
	return nil
}

// settle tells whether a start that an agent may have asked for before it died has come here. One that has not, since
// it was not sent or not read yet, is refused from now on; the outcome of one under way will be told to subscribers.
func (s *server) settle(id string) (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.containers[id]; c != nil {
		return c.snapshot(), nil
	}
	s.barred[id] = true
	return Status{}, &Error{KindNotFound, "container " + id + " is not known to the shim"}
}

// subscribe sends every status and then each change, in order, until the peer closes.
func (s *server) subscribe(conn *Conn) {
	changes := make(chan Status, 64) // a burst of one pod's containers; beyond it the subscriber is cut off
	s.mu.Lock()
	known := make([]Status, 0, len(s.containers))
	for _, c := range s.containers {
		if st := c.snapshot(); st.Running || !st.FinishedAt.IsZero() {
			known = append(known, st)
		}
	}
	s.subscribers[changes] = struct{}{}
	s.mu.Unlock()

	gone := make(chan struct{})
	go func() { // ends when the peer closes or serve does
		defer close(gone)
		var ignored Request
		_, _ = conn.Recv(&ignored)
	}()
	defer func() {
		s.mu.Lock()
		delete(s.subscribers, changes)
		s.mu.Unlock()
	}()
	for i := range known {
		if conn.Send(Reply{Status: &known[i]}) != nil {
			return
		}
	}
	if conn.Send(Reply{Synced: true}) != nil {
		return
	}
	for {
		select {
		case <-gone:
			return
		case st, ok := <-changes:
			if !ok || conn.Send(Reply{Status: &st}) != nil {
				return
			}
		}
	}
}

func (s *server) publish(st Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range s.subscribers {
		select {
		case ch <- st:
		default: // it will connect again and get everything
			delete(s.subscribers, ch)
			close(ch)
		}
	}
}

// shutdown kills everything and ends the process; the folder is the agent's to remove.
func (s *server) shutdown() {
	s.mu.Lock()
	all := make([]*container, 0, len(s.containers))
	for _, c := range s.containers {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		cgroup.Kill(c.req.Cgroups)
	}
	limit := time.After(5 * time.Second)
	for _, c := range all {
		select {
		case <-c.done:
		case <-limit:
		}
	}
	os.Exit(0)
}

// writeFile replaces a file in one step.
func writeFile(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return file.Replace(path, data, 0o600)
}

// files are descriptors received with a request; close spares those that were taken.
type files struct{ list []*os.File }

func adopt(fds []int) *files {
	f := &files{}
	for _, fd := range fds {
		f.list = append(f.list, os.NewFile(uintptr(fd), "passed"))
	}
	return f
}

// take gives the next descriptor when wanted says that it was sent; nil otherwise.
func (f *files) take(wanted bool) *os.File {
	if !wanted || len(f.list) == 0 {
		return nil
	}
	file := f.list[0]
	f.list = f.list[1:]
	return file
}

func (f *files) close() {
	for _, file := range f.list {
		file.Close()
	}
}

func statusPath(id string) string { return filepath.Join(id, StatusFile) }
