// Package cgroup finds, limits, kills and removes control groups on cgroup v1, hybrid and v2 hosts.
//
// Start with Dirs, which turns a cgroup path into its folders, one for each hierarchy; every other function takes
// those. The OCI runtime makes the containers' groups; this package makes pods' groups and cleans up both. It
// imports next to nothing, since the shim links it.
package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Root is where the host mounts its hierarchies.
const Root = "/sys/fs/cgroup"

// V2 tells whether the host has the unified hierarchy alone.
func V2() bool {
	var st unix.Statfs_t
	return unix.Statfs(Root, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// Has tells whether the host offers a controller to groups.
func Has(controller string) bool { return has(Root, V2(), controller) }

func has(root string, v2 bool, controller string) bool {
	if !v2 {
		_, err := os.Stat(filepath.Join(root, controller, "cgroup.procs"))
		return err == nil
	}
	data, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(string(data)), controller)
}

// Dirs lists the folders of a cgroup path, whether they exist or not: one on v2, one for each hierarchy on v1.
func Dirs(path string) []string {
	if V2() {
		return []string{filepath.Join(Root, path)}
	}
	entries, err := os.ReadDir(Root)
	if err != nil {
		return nil
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() { // links name the same hierarchy again
			dirs = append(dirs, filepath.Join(Root, e.Name(), path))
		}
	}
	return dirs
}

// Processes lists the processes in the group and in those below it.
func Processes(dirs []string) []int {
	for _, dir := range dirs {
		if pids := below(dir); len(pids) > 0 {
			return pids
		}
	}
	return nil
}

func below(dir string) []int {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var pids []int
	for line := range strings.Lines(string(data)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			pids = append(pids, below(filepath.Join(dir, e.Name()))...)
		}
	}
	return pids
}

// Kill sends SIGKILL to every process of the group, also to those that fork meanwhile.
func Kill(dirs []string) {
	for _, dir := range dirs {
		if os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) == nil && len(dirs) == 1 {
			return
		}
	}
	if len(Processes(dirs)) == 0 {
		return
	}
	// Frozen processes cannot fork; the signal acts when they thaw.
	freeze(dirs, "FROZEN")
	for _, pid := range Processes(dirs) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	freeze(dirs, "THAWED")
}

func freeze(dirs []string, state string) {
	for _, dir := range dirs {
		file := filepath.Join(dir, "freezer.state")
		if _, err := os.Stat(file); err == nil {
			_ = os.WriteFile(file, []byte(state), 0)
		}
	}
}

// Remove removes the group and those below it. Processes that are dying may hold it for some milliseconds; after
// patience has passed the first error is returned.
func Remove(dirs []string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond; ; wait *= 2 {
		var first error
		for _, dir := range dirs {
			if err := remove(dir); err != nil && first == nil {
				first = err
			}
		}
		if first == nil || time.Now().After(deadline) {
			return first
		}
		time.Sleep(wait)
	}
}

func remove(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || err == unix.ENOENT || err == unix.ENOTDIR {
		return nil
	}
	entries, readErr := os.ReadDir(dir)
	if readErr != nil {
		return nil // gone meanwhile
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// OOMKills counts the processes of the group that the kernel killed for memory.
func OOMKills(dirs []string) int {
	for _, dir := range dirs {
		for _, name := range []string{"memory.events", "memory.oom_control"} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(data)) {
				if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
					n, _ := strconv.Atoi(strings.TrimSpace(value))
					return n
				}
			}
		}
	}
	return 0
}
