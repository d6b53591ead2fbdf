package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/cgroup"
	"kubus.dev/services/agent/internal/shim"
)

// startShim starts the shim; its socket is made here, so that it takes connections before it has begun to run.
func (s *sandbox) startShim() error {
	config, err := json.Marshal(shim.Config{RuntimeRoot: s.node.opts.runcDir(), LogMaxSize: s.node.opts.LogMaxSize,
		LogMaxFiles: s.node.opts.LogMaxFiles})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, shim.ConfigFile), config, 0o600); err != nil {
		return err
	}
	listener, err := listen(s.dir)
	if err != nil {
		return fmt.Errorf("listening for the shim: %w", err)
	}
	defer listener.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	stderr, err := os.OpenFile(filepath.Join(s.dir, "shim.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer stderr.Close()
	attr := &unix.SysProcAttr{Setsid: true}
	leave, err := s.node.shimCgroup(attr)
	if err != nil {
		return err
	}
	process, err := os.StartProcess(s.node.opts.Shim, []string{"kubus-shim", s.dir}, &os.ProcAttr{
		Dir: "/", Env: []string{"PATH=" + os.Getenv("PATH"), "GOMAXPROCS=2", "GOTRACEBACK=single"},
		Files: []*os.File{null, stderr, stderr, listener},
		Sys:   attr,
	})
	if err != nil {
		if attr.UseCgroupFD {
			unix.Close(attr.CgroupFD)
		}
		return fmt.Errorf("starting shim: %w", err)
	}
	go func() { // ends with the shim, which it reaps
		leave(process.Pid) // takes milliseconds on v1
		_, _ = process.Wait()
	}()
	return os.WriteFile(filepath.Join(s.dir, "shim.pid"), []byte(strconv.Itoa(process.Pid)), 0o600)
}

// shimCgroup keeps shims out of the agent's own group, which a service manager kills as a whole when it stops the
// agent. On v2 the shim is born in its group, on v1 only the service manager's hierarchy matters.
func (n *Node) shimCgroup(attr *unix.SysProcAttr) (leave func(pid int), err error) {
	path := filepath.Join(n.opts.cgroupRoot(), "shims")
	if n.machine.CgroupV2 {
		dir := filepath.Join(cgroup.Root, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("making the shims' cgroup: %w", err)
		}
		fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("opening the shims' cgroup: %w", err)
		}
		attr.UseCgroupFD, attr.CgroupFD = true, fd
		return func(int) { unix.Close(fd) }, nil
	}
	return func(pid int) {
		dir := filepath.Join(cgroup.Root, "systemd", path)
		if os.MkdirAll(dir, 0o755) == nil { // hosts without that hierarchy have no such service manager
			_ = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		}
	}, nil
}

// listen makes the shim's socket; the folder is opened first, since a socket's path is short.
func listen(dir string) (*os.File, error) {
	folder, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(folder)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), shim.Socket)
	if err := unix.Fchmod(fd, 0o600); err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", folder, shim.Socket)})
		if err == nil {
			err = unix.Listen(fd, 128)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// ask sends one request to the shim and gives its answer. A shim that is silent is waited for as long as ctx lasts.
func (s *sandbox) ask(ctx context.Context, req *shim.Request) (*shim.Reply, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var reply shim.Reply
	if err = conn.Send(req); err == nil {
		_, err = conn.Recv(&reply)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrShimLost, err)
	}
	return &reply, toError(reply.Err())
}

// The pauses between two tries to reach a shim that is alive.
const (
	firstRetry = time.Millisecond
	lastRetry  = 250 * time.Millisecond
)

// dial connects to the shim; while its queue is full, which a silent one's may be, it tries again.
func (s *sandbox) dial(ctx context.Context) (*shim.Conn, error) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		conn, err := shim.Dial(s.dir)
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, unix.EAGAIN) {
			return nil, fmt.Errorf("%w: %w", ErrShimLost, err)
		}
		if !pause(ctx, wait) {
			return nil, ctx.Err()
		}
	}
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// toError turns the shim's kinds into this package's errors.
func toError(err error) error {
	var e *shim.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Kind {
	case shim.KindNotFound:
		return fmt.Errorf("%w: %s", ErrNotFound, e.Message)
	case shim.KindNotRunning:
		return ErrNotRunning
	}
	return err
}

// watch begins to follow the shim and returns when every status it had is known here. An error of ctx says that the
// shim is silent so far; it is followed all the same, until it is dead or the agent lets go.
func (s *sandbox) watch(ctx context.Context) error {
	s.mu.Lock()
	if s.released {
		s.mu.Unlock()
		return ErrShimLost
	}
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	synced, ended := make(chan struct{}), make(chan struct{})
	s.unfollow, s.watching = cancel, ended
	s.mu.Unlock()
	go func() { // ends with the shim or when the agent lets go
		defer close(ended)
		defer cancel()
		s.follow(following, synced)
	}()
	select {
	case <-synced:
		return nil
	case <-ended:
		return ErrShimLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow takes what the shim tells, again and again when it cuts the subscription off, until it is dead.
func (s *sandbox) follow(ctx context.Context, synced chan<- struct{}) {
	told := sync.OnceFunc(func() { close(synced) })
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := s.subscribe(ctx, told)
		switch {
		case ctx.Err() != nil:
			return
		case shim.Dead(s.dir):
			s.lost()
			return
		}
		s.node.log.Debug("subscribing to the shim again", zap.String("sandbox", s.record.ID), zap.Error(err))
		if !pause(ctx, wait) {
			return
		}
	}
}

// subscribe takes what the shim tells until the connection ends; told is called when everything up to then is known.
func (s *sandbox) subscribe(ctx context.Context, told func()) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.Send(&shim.Request{Op: shim.OpSubscribe}); err != nil {
		return err
	}
	for {
		var reply shim.Reply
		if _, err := conn.Recv(&reply); err != nil {
			return err
		}
		s.apply(reply.Status)
		if !reply.Synced {
			continue
		}
		if err := s.settle(ctx); err != nil {
			return err
		}
		told()
	}
}

// apply takes a status from the shim.
func (s *sandbox) apply(st *shim.Status) {
	if st != nil && st.ID == s.record.ID {
		if !st.Running {
			s.initEnded()
		}
		return
	}
	s.node.apply(st)
}

// letGo ends the subscription and waits for its goroutine.
func (s *sandbox) letGo() {
	s.mu.Lock()
	s.released = true
	unfollow, ended := s.unfollow, s.watching
	s.mu.Unlock()
	if unfollow != nil {
		unfollow()
		<-ended
	}
}

// lost handles the end of a shim that nobody asked for: what it held is killed and reported as ended.
func (s *sandbox) lost() {
	if !s.becomeNotReady() {
		return
	}
	s.node.log.Warn("the pod's shim is gone; its containers are killed", zap.String("sandbox", s.record.ID),
		zap.String("namespace", s.record.Spec.Namespace), zap.String("pod", s.record.Spec.Name))
	s.killAll()
	for _, c := range s.node.containersOf(s.record.ID) {
		c.endWithoutShim()
	}
	s.node.events.add(Event{Type: SandboxStopped, SandboxID: s.record.ID, PodUID: s.record.Spec.PodUID})
}

// becomeNotReady notes that the sandbox can take no containers any more; false when that was known, or is not the
// agent's business any more.
func (s *sandbox) becomeNotReady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released || s.state == SandboxNotReady {
		return false
	}
	s.state = SandboxNotReady
	return true
}

// shutdown has the shim kill its containers, tell their ends and end itself; a shim that does not is killed.
func (s *sandbox) shutdown(ctx context.Context) {
	limit, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	if conn, err := s.dial(limit); err == nil {
		stop := context.AfterFunc(limit, func() { conn.Close() })
		if conn.Send(&shim.Request{Op: shim.OpShutdown}) == nil {
			var ignored shim.Reply
			_, _ = conn.Recv(&ignored) // the end of the connection
		}
		stop()
		conn.Close()
	}
	s.mu.Lock()
	watching := s.watching
	s.mu.Unlock()
	if watching != nil {
		select {
		case <-watching: // all that it had to tell has been heard
		case <-limit.Done():
		}
	}
	s.killShim()
}

// killShim kills the shim's process, if there is one. The descriptor holds the process that was looked at, whatever
// becomes of its number.
func (s *sandbox) killShim() {
	data, err := os.ReadFile(filepath.Join(s.dir, "shim.pid"))
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && string(cmdline) == "kubus-shim\x00"+s.dir+"\x00" {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// settle finds out about the containers whose start was asked for, or was about to be, when the last agent died,
// and of which the shim has told nothing. One whose start never reached it is as it was before.
func (s *sandbox) settle(ctx context.Context) error {
	for _, c := range s.node.containersOf(s.record.ID) {
		if c.view().State != ContainerUnknown {
			continue
		}
		reply, err := s.ask(ctx, &shim.Request{Op: shim.OpSettle, ID: c.record.ID})
		var refused *shim.Error
		switch {
		case err == nil && reply.Status != nil:
			if st := reply.Status; st.Running || !st.FinishedAt.IsZero() {
				s.node.apply(st)
			} // else it is being started, and the subscription will tell
		case errors.Is(err, ErrNotFound), errors.As(err, &refused): // or a shim of before, which knows no such question
			if err := c.unstart(); err != nil {
				return err
			}
		case err != nil:
			return err
		}
	}
	return nil
}
