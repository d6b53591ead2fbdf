package shim

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper waits for every child of this process, its own and those that a subreaper inherits, and hands out their
// ends. It is the only caller of wait4, so that no end is lost to another.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan unix.WaitStatus
	// unclaimed holds ends of processes nobody waits for yet, while claims > 0: a container may end before the
	// runtime has told us its pid.
	unclaimed map[int]unix.WaitStatus
	claims    int
}

func newReaper() *reaper {
	r := &reaper{waiting: map[int]chan unix.WaitStatus{}, unclaimed: map[int]unix.WaitStatus{}}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGCHLD)
	go func() { // lives as long as the process
		for range signals {
			r.reap()
		}
	}()
	return r
}

func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ch, ok := r.waiting[pid]; ok {
			delete(r.waiting, pid)
			ch <- status
		} else if r.claims > 0 {
			r.unclaimed[pid] = status
		}
	}
}

// start forks under the lock, so that the child's end cannot be missed.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr) (int, <-chan unix.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	ch := make(chan unix.WaitStatus, 1)
	r.waiting[pid] = ch
	return pid, ch, nil
}

// expect begins a time in which ends of unknown processes are kept; the function it returns ends it.
func (r *reaper) expect() (done func()) {
	r.mu.Lock()
	r.claims++
	r.mu.Unlock()
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.claims--; r.claims == 0 {
			clear(r.unclaimed)
		}
	}
}

// claim waits for a process that became our child through the runtime's exit. Call it between expect and done.
func (r *reaper) claim(pid int) <-chan unix.WaitStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := make(chan unix.WaitStatus, 1)
	if status, ok := r.unclaimed[pid]; ok {
		delete(r.unclaimed, pid)
		ch <- status
		return ch
	}
	r.waiting[pid] = ch
	return ch
}

// signal sends to a child that has not been reaped; afterwards its pid may be another's. A negative pid means the
// child's process group.
func (r *reaper) signal(pid int, sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.waiting[max(pid, -pid)]; !ok {
		return syscall.ESRCH
	}
	return syscall.Kill(pid, sig)
}
