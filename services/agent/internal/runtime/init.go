package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/cgroup"
	"kubus.dev/services/agent/internal/oci"
	"kubus.dev/services/agent/internal/shim"
)

// nobody is whom the init of a pod runs as.
const nobody = 65535

// initScore keeps a pod's init from the kernel's OOM killer as long as anything else can be killed.
const initScore = -998

// startInit runs the first process of the namespace that the pod's containers share, and keeps the namespace below the
// others. It is a container like any other, since all of them may look into it by /proc/1: its root holds nothing but
// the program, it has no capability and can gain none. It bears the sandbox's id.
func (s *sandbox) startInit(ctx context.Context) error {
	id, group := s.record.ID, filepath.Join(s.record.Cgroup, s.record.ID)
	dir := filepath.Join(s.dir, id)
	if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		return err
	}
	in := oci.Input{
		Args: []string{"kubus-shim", shim.InitCommand}, Env: []string{"PATH=/", "GOMAXPROCS=1"},
		User:        oci.User{UID: nobody, GID: nobody},
		Mounts:      []oci.Mount{{Source: s.node.opts.Shim, Destination: "/kubus-shim", ReadOnly: true}},
		CgroupsPath: group, Namespaces: s.namespaces(), Resources: oci.Resources{OOMScoreAdj: initScore},
		DropCapabilities: []string{"ALL"}, NoNewPrivs: true, ReadOnlyRoot: true, Seccomp: SeccompRuntimeDefault,
	}
	spec, err := oci.Build(in, s.node.machine)
	if err != nil {
		return err
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		return err
	}
	// Its input ends with the shim, and it with its input.
	reply, err := s.ask(ctx, &shim.Request{Op: shim.OpStart, ID: id, Start: &shim.StartRequest{
		Runtime: s.node.opts.Runc, Stdin: true, Cgroups: cgroup.Dirs(group), Direct: true}})
	if err != nil {
		return err
	}
	return pinProcesses(reply.PID, inContainer(id), s.nsPath("pid"))
}

// initEnded notes that everything in the pod's process namespace has ended with its init, as its containers will tell.
func (s *sandbox) initEnded() {
	if !s.becomeNotReady() {
		return
	}
	s.node.log.Warn("the init of the pod's processes is gone, and they with it", zap.String("sandbox", s.record.ID),
		zap.String("namespace", s.record.Spec.Namespace), zap.String("pod", s.record.Spec.Name))
	s.node.events.add(Event{Type: SandboxStopped, SandboxID: s.record.ID, PodUID: s.record.Spec.PodUID})
}

// errReused: the number of a process is another's by now.
var errReused = errors.New("its process has ended")

// pinProcesses mounts the process namespace of a process at path, so that whoever joins it later joins that one. A folder
// in /proc stays its process's: the one that is asked for, and the one whose namespace is kept, cannot be two.
func pinProcesses(pid int, meant func(dir int) bool, path string) error {
	dir, err := unix.Open(fmt.Sprintf("/proc/%d", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errReused
	}
	defer unix.Close(dir)
	ns, err := unix.Openat(dir, "ns/pid", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errReused
	}
	defer unix.Close(ns)
	if !meant(dir) {
		return errReused
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns), path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("keeping the process namespace: %w", err)
	}
	return nil
}

// inContainer tells processes of a container by their cgroup.
func inContainer(id string) func(dir int) bool {
	return func(dir int) bool {
		groups, err := readAt(dir, "cgroup")
		return err == nil && bytes.Contains(groups, []byte("/"+id+"\n"))
	}
}

// adoptInit keeps the process namespace of a pod whose agent of before knew it by a number only.
func (s *sandbox) adoptInit() error {
	if s.record.PIDInit == 0 {
		return nil
	}
	err := pinProcesses(s.record.PIDInit, func(dir int) bool {
		cmdline, err := readAt(dir, "cmdline")
		return err == nil && bytes.HasPrefix(cmdline, []byte("kubus-shim\x00"+shim.InitCommand+"\x00"))
	}, s.nsPath("pid"))
	if err != nil {
		return err
	}
	s.record.PIDInit = 0
	return s.save()
}

func readAt(dir int, name string) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(f)
}
