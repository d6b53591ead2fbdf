package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/cgroup"
	"kubus.dev/services/agent/internal/network"
	"kubus.dev/services/agent/internal/tree"
)

// Halt ends everything that an instance runs, containers asked first and killed after grace, and takes it off the
// machine: shims, mounts, cgroups, namespaces, links, rules. Images, volumes and logs stay, so that the next agent starts its pods anew, as after a
// reboot. No agent may run with these folders. Errors do not stop it; it may be called again.
func Halt(ctx context.Context, opts Options, grace time.Duration) error {
	return halt(ctx, &opts, grace, func() error { return nil })
}

// Left tells whether a stopped instance has left pods on the machine.
func Left(opts Options) bool {
	if opts.RunDir == "" {
		opts.RunDir = filepath.Join(runRoot, opts.Instance)
	}
	entries, err := os.ReadDir(opts.podsDir())
	return err == nil && len(entries) > 0
}

// Purge is Halt without grace, and removes the agent's files as well.
func Purge(ctx context.Context, opts Options) error {
	return halt(ctx, &opts, 0, func() error { return tree.Remove(opts.agentDir()) })
}

func halt(ctx context.Context, opts *Options, grace time.Duration, then func() error) error {
	if opts.Instance == "" || !filepath.IsAbs(opts.DataDir) {
		return errors.New("an instance and an absolute data folder are needed")
	}
	if opts.RunDir == "" {
		opts.RunDir = filepath.Join(runRoot, opts.Instance)
	}
	lock, err := lockDir(opts.RunDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if lock != nil {
		defer lock.Close()
	}
	dirs := cgroup.Dirs(opts.cgroupRoot())
	if grace > 0 {
		terminate(ctx, dirs, grace)
	}
	killShims(opts.podsDir())
	cgroup.Kill(dirs)
	errs := cgroup.Remove(dirs, 5*time.Second)
	errs = errors.Join(errs, network.Purge(ctx, opts.Instance, opts.nsDir()))
	errs = errors.Join(errs, tree.UnmountBelow(opts.RunDir), tree.UnmountBelow(opts.agentDir()))
	if errs != nil {
		return fmt.Errorf("clearing %s: %w", opts.Instance, errs) // files under a mount are not ours to delete
	}
	if err := errors.Join(tree.Remove(opts.RunDir), tree.Remove(opts.upperDir()), then()); err != nil {
		return err
	}
	_ = os.Remove(runRoot) // when it was the last instance's
	return nil
}

// terminate asks the containers' processes to end and waits until they have, for grace at most.
func terminate(ctx context.Context, dirs []string, grace time.Duration) {
	var waiting []int
	for _, pid := range cgroup.Processes(dirs) {
		if isShim(pid) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		defer unix.Close(fd)
		if unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0) == nil {
			waiting = append(waiting, fd)
		}
	}
	deadline := time.Now().Add(grace)
	for _, fd := range waiting {
		for left := time.Until(deadline); left > 0 && ctx.Err() == nil; left = time.Until(deadline) {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
			if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				break
			}
		}
	}
}

func isShim(pid int) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.HasPrefix(string(cmdline), "kubus-shim\x00")
}

// killShims kills the shims of an instance, also those whose pid was never written down.
func killShims(podsDir string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil || pid <= 1 {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.HasPrefix(string(cmdline), "kubus-shim\x00"+podsDir+"/") {
			_ = unix.Kill(pid, unix.SIGKILL) // inits of process namespaces end with it
		}
	}
}
