// Package preflight looks, before anything is started or written, at whether this
// machine can run a cluster: rights, tools, kernel features, ports, disk. All
// problems are reported together, each with what to do about it.
package preflight

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Problem is one thing that is wrong, and its cure.
type Problem struct {
	What string
	Do   string
}

func (p Problem) Error() string { return p.What + ": " + p.Do }

// Options say what is to be run.
type Options struct {
	DataDir string
	Node    bool     // containers run here
	Ports   []string // host:port that must be free, tcp
	Runc    string   // path; empty: looked for beside this program and on PATH
}

// Least free space, in bytes.
const (
	leastControlPlane = 64 << 20
	leastNode         = 1 << 30
)

// Check gives all problems joined, nil for none.
func Check(o Options) error {
	var problems []error
	add := func(p *Problem) {
		if p != nil {
			problems = append(problems, *p)
		}
	}
	add(disk(o))
	for _, address := range o.Ports {
		add(port(address))
	}
	if o.Node {
		if os.Geteuid() != 0 {
			add(&Problem{"running containers needs root", "call it with sudo, or start the control plane alone with --nodes 0"})
		}
		add(runc(o.Runc))
		add(shim())
		add(iptables())
		add(overlayfs())
		add(cgroups())
	}
	return errors.Join(problems...)
}

func disk(o Options) *Problem {
	least := int64(leastControlPlane)
	if o.Node {
		least = leastNode
	}
	dir := o.DataDir
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &Problem{fmt.Sprintf("looking at the disk of %s: %v", dir, err), "choose another --data-dir"}
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return &Problem{fmt.Sprintf("%s is on a read-only file system", dir), "choose another --data-dir"}
	}
	if free := int64(st.Bavail) * st.Bsize; free < least {
		return &Problem{
			fmt.Sprintf("no disk space: %d MiB are free for %s, %d MiB are needed", free>>20, o.DataDir, least>>20),
			"free some, or choose another --data-dir",
		}
	}
	if unix.Access(dir, unix.W_OK) != nil {
		return &Problem{fmt.Sprintf("%s cannot be written to by this user", dir), "choose another --data-dir, or call it with sudo"}
	}
	return nil
}

// LeastRunc is the oldest runc without known escapes.
var LeastRunc = [3]int{1, 5, 2}

// FindRunc looks beside this program, then on PATH.
func FindRunc() (string, error) { return FindTool("runc") }

// FindTool gives the path of a program beside this one or on PATH.
func FindTool(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		if resolved, err := filepath.EvalSymlinks(self); err == nil {
			self = resolved
		}
		beside := filepath.Join(filepath.Dir(self), name)
		if info, err := os.Stat(beside); err == nil && info.Mode()&0o111 != 0 {
			return beside, nil
		}
	}
	return exec.LookPath(name)
}

func runc(path string) *Problem {
	least := fmt.Sprintf("%d.%d.%d", LeastRunc[0], LeastRunc[1], LeastRunc[2])
	build := "`make build` builds it beside kubus"
	if path == "" {
		var err error
		if path, err = FindRunc(); err != nil {
			return &Problem{"runc is missing", build}
		}
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return &Problem{fmt.Sprintf("%s --version: %v", path, err), build}
	}
	got, ok := runcVersion(string(out))
	if !ok {
		return &Problem{fmt.Sprintf("%s does not tell its version", path), build}
	}
	if older(got, LeastRunc) {
		return &Problem{fmt.Sprintf("%s is version %d.%d.%d, older than %s and open to known escapes", path, got[0], got[1], got[2], least), build}
	}
	return nil
}

func runcVersion(output string) (v [3]int, ok bool) {
	first, _, _ := strings.Cut(output, "\n")
	text, found := strings.CutPrefix(strings.TrimSpace(first), "runc version ")
	if !found {
		return v, false
	}
	text, _, _ = strings.Cut(text, "-")
	text, _, _ = strings.Cut(text, "+")
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return v, false
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

func older(a, b [3]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

func shim() *Problem {
	if _, err := FindTool("kubus-shim"); err != nil {
		return &Problem{"kubus-shim is missing", "`make build` builds it beside kubus"}
	}
	return nil
}

func iptables() *Problem {
	var missing []string
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore"} {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return &Problem{strings.Join(missing, ", ") + " missing", "`apt-get install iptables`"}
	}
	return nil
}

func overlayfs() *Problem {
	data, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return &Problem{fmt.Sprintf("looking for overlayfs: %v", err), "mount /proc"}
	}
	if !hasFilesystem(string(data), "overlay") && exec.Command("modprobe", "overlay").Run() != nil {
		return &Problem{"the kernel has no overlayfs", "load its module with `modprobe overlay`, or use a kernel that has it"}
	}
	return nil
}

func hasFilesystem(list, name string) bool {
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) > 0 && fields[len(fields)-1] == name {
			return true
		}
	}
	return false
}

func cgroups() *Problem {
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC && st.Type != unix.TMPFS_MAGIC {
		return &Problem{"no cgroups are mounted at /sys/fs/cgroup", "mount them, as every distribution's init does"}
	}
	return nil
}
