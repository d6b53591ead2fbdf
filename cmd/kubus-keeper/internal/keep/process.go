package keep

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kubus.dev/cmd/kubus-keeper/spec"
	"kubus.dev/services/kit/netns"
)

// process is one running process, our child or an adopted one.
type process struct {
	spec.Record
	cmd   *exec.Cmd // nil when adopted
	pidfd int
}

// start runs p's command in a session of its own with its output in its log.
func start(p *spec.Process, logDir string) (*process, error) {
	name := p.Name
	if name == spec.StandbyName {
		name = "keeper" // the keepers share one log
	}
	log, err := openLog(filepath.Join(logDir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(p.Argv[0], p.Argv[1:]...)
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	pidfd := -1
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}
	start := cmd.Start
	if len(p.Namespaces) > 0 {
		start = func() error { return netns.In(cmd.Start, p.Namespaces...) }
	}
	if err := start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.Name, err)
	}
	if pidfd < 0 {
		if pidfd, err = unix.PidfdOpen(cmd.Process.Pid, 0); err != nil {
			return nil, fmt.Errorf("watching %s: %w", p.Name, err)
		}
	}
	began, _ := spec.StartTime(cmd.Process.Pid)
	return &process{
		Record: spec.Record{PID: cmd.Process.Pid, Start: began, Since: time.Now()},
		cmd:    cmd, pidfd: pidfd,
	}, nil
}

// adopt takes over a process that an earlier keeper started; nil when it is gone.
func adopt(r *spec.Record) *process {
	if r == nil || !r.Alive() {
		return nil
	}
	pidfd, err := unix.PidfdOpen(r.PID, 0)
	if err != nil || !r.Alive() { // the second look excludes a pid taken over meanwhile
		return nil
	}
	return &process{Record: *r, pidfd: pidfd}
}

// wait blocks until the process has ended, reaps a child, and says how it went.
func (p *process) wait() string {
	defer unix.Close(p.pidfd)
	fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, -1)
		if n > 0 || err != nil && err != unix.EINTR {
			break
		}
	}
	if p.cmd == nil {
		return "ended (how is unknown, it was adopted)"
	}
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.String()
}

func (p *process) signal(s syscall.Signal) {
	_ = unix.PidfdSendSignal(p.pidfd, s, nil, 0)
}

// logLimit is the size beyond which a log is set aside when its process starts.
const logLimit = 16 << 20

// openLog opens a log for appending; a large one becomes FILE.1 first.
func openLog(file string) (*os.File, error) {
	if info, err := os.Stat(file); err == nil && info.Size() > logLimit {
		if err := os.Rename(file, file+".1"); err != nil {
			return nil, fmt.Errorf("setting a log aside: %w", err)
		}
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	return f, nil
}
