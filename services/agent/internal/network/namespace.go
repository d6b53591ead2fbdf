package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/netns"
)

// NamespaceSpec says which namespaces a pod gets.
type NamespaceSpec struct {
	Dir                  string // made; holds net, ipc and uts as far as they are new
	Net, IPC             bool
	Hostname, Domainname string // a new UTS namespace when Hostname is set
	Sysctls              map[string]string
	// Inside runs in the new namespaces, for what must be done there. May be nil.
	Inside func() error
}

// NewNamespaces makes namespaces that live without any process, as mounts below spec.Dir, until Remove. On error
// nothing is left.
func NewNamespaces(spec NamespaceSpec) (err error) {
	if err := os.MkdirAll(spec.Dir, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = RemoveNamespaces(spec.Dir)
		}
	}()
	return netns.OnOwnThread(func() error { return enter(spec) })
}

func enter(spec NamespaceSpec) error {
	var kinds []string
	flags := 0
	if spec.Net {
		flags |= unix.CLONE_NEWNET
		kinds = append(kinds, "net")
	}
	if spec.IPC {
		flags |= unix.CLONE_NEWIPC
		kinds = append(kinds, "ipc")
	}
	if spec.Hostname != "" {
		flags |= unix.CLONE_NEWUTS
		kinds = append(kinds, "uts")
	}
	if flags == 0 {
		return nil
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("making namespaces: %w", err)
	}
	if spec.Hostname != "" {
		if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
			return fmt.Errorf("setting hostname: %w", err)
		}
		if err := unix.Setdomainname([]byte(spec.Domainname)); err != nil {
			return fmt.Errorf("setting domain name: %w", err)
		}
	}
	for name, value := range spec.Sysctls {
		if err := podSysctl(name, value, spec.Net, spec.IPC); err != nil {
			return err
		}
	}
	if spec.Inside != nil {
		if err := spec.Inside(); err != nil {
			return err
		}
	}
	for _, kind := range kinds {
		path := filepath.Join(spec.Dir, kind)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
		if err != nil {
			return err
		}
		f.Close()
		from := fmt.Sprintf("/proc/self/task/%d/ns/%s", unix.Gettid(), kind)
		if err := unix.Mount(from, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keeping %s namespace: %w", kind, err)
		}
	}
	return nil
}

// podSysctl writes a sysctl that belongs to one of the pod's own namespaces, through this thread's view of /proc.
func podSysctl(name, value string, ownNet, ownIPC bool) error {
	path := strings.ReplaceAll(name, ".", "/")
	if strings.Contains(path, "..") {
		return fmt.Errorf("sysctl %q is not valid", name)
	}
	ipc := strings.HasPrefix(path, "kernel/shm") || strings.HasPrefix(path, "kernel/msg") || path == "kernel/sem" ||
		strings.HasPrefix(path, "fs/mqueue/")
	switch {
	case strings.HasPrefix(path, "net/") && ownNet, ipc && ownIPC:
	default:
		return fmt.Errorf("sysctl %q is not in a namespace of the pod", name)
	}
	if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0); err != nil {
		return fmt.Errorf("setting sysctl %s=%s: %w", name, value, err)
	}
	return nil
}

// RemoveNamespaces lets go of the namespaces below dir and removes it. It may be called twice.
func RemoveNamespaces(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		for unix.Unmount(path, unix.MNT_DETACH) == nil {
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
