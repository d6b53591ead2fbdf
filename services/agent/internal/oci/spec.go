// Package oci turns what a pod says about a container into the OCI runtime's spec.
//
// Start with Build; everything it decides depends on its Input alone, save for the image's user files and, for
// privileged containers, the node's devices.
package oci

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/hugepage"
)

// Mount binds a path of the node into the container.
type Mount struct {
	Source, Destination string
	ReadOnly            bool
	RecursiveReadOnly   bool
	NoExec              bool
	Propagation         string // "", "rslave" or "rshared"
}

// Device passes a device node.
type Device struct{ Source, Destination, Permissions string }

// Resources are the cgroup's settings; zero leaves the default.
type Resources struct {
	CPUShares   uint64
	CPUQuota    int64
	CPUPeriod   uint64
	MemoryLimit int64
	PidsLimit   int64
	OOMScoreAdj int
	CpusetCpus  string
	CpusetMems  string
}

// Namespaces are paths of what the container joins. "" is a new one, Host is the node's.
type Namespaces struct{ Net, IPC, UTS, PID string }

// Host in Namespaces means that the container shares the node's.
const Host = "host"

// Node is what the machine allows.
type Node struct {
	Bounding       []string // capabilities
	CgroupV2       bool
	MinOOMScoreAdj int // lower values are raised to it
	CDIDirs        []string
	PageSizes      []int64 // of huge pages, in bytes, where they can be limited
}

// Input is all that Build looks at.
type Input struct {
	Rootfs      string // mounted; for the user files
	Args        []string
	Env         []string
	WorkingDir  string
	Hostname    string // for the environment
	TTY         bool
	User        User
	Mounts      []Mount
	Devices     []Device
	Resources   Resources
	CgroupsPath string
	Namespaces  Namespaces
	ShmDir      string // the pod's /dev/shm; "" for one of its own

	AddCapabilities, DropCapabilities []string
	Privileged, ReadOnlyRoot          bool
	NoNewPrivs, UnmaskedProc          bool
	Seccomp, SeccompPath              string // "", "Unconfined", "RuntimeDefault", "Localhost"

	Hugepages   map[int64]int64 // bytes at most, by the pages' size; of other sizes none
	Annotations map[string]string
	CDI         []string // qualified names of devices of the Container Device Interface
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Build makes the spec. The root file system is the bundle's "rootfs".
func Build(in Input, node Node) (*specs.Spec, error) {
	if len(in.Args) == 0 {
		return nil, errors.New("no command specified")
	}
	caps, err := capabilities(in.AddCapabilities, in.DropCapabilities, in.Privileged, node.Bounding)
	if err != nil {
		return nil, err
	}
	adj := max(in.Resources.OOMScoreAdj, node.MinOOMScoreAdj)
	spec := &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Terminal:        in.TTY,
			User:            specs.User{UID: in.User.UID, GID: in.User.GID, AdditionalGids: in.User.Groups},
			Args:            in.Args,
			Env:             environment(in),
			Cwd:             cmp.Or(in.WorkingDir, "/"),
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			NoNewPrivileges: in.NoNewPrivs,
			OOMScoreAdj:     &adj,
		},
		Root:  &specs.Root{Path: "rootfs", Readonly: in.ReadOnlyRoot},
		Linux: &specs.Linux{CgroupsPath: in.CgroupsPath, Namespaces: namespaces(in.Namespaces, node)},
	}
	if !filepath.IsAbs(spec.Process.Cwd) {
		spec.Process.Cwd = "/" + spec.Process.Cwd
	}
	if spec.Mounts, err = mounts(in); err != nil {
		return nil, err
	}
	for _, m := range in.Mounts {
		switch {
		case m.Propagation == "rshared":
			spec.Linux.RootfsPropagation = "rshared"
		case m.Propagation == "rslave" && spec.Linux.RootfsPropagation == "":
			spec.Linux.RootfsPropagation = "rslave"
		}
	}
	if spec.Linux.Resources, err = resources(in, node); err != nil {
		return nil, err
	}
	if err := addDevices(in, spec); err != nil {
		return nil, err
	}
	if !in.Privileged && !in.UnmaskedProc {
		spec.Linux.MaskedPaths = []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
			"/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
			"/sys/devices/virtual/powercap"}
		spec.Linux.ReadonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	}
	spec.Annotations = in.Annotations
	if len(in.CDI) > 0 {
		if err := injectCDI(spec, node.CDIDirs, in.CDI); err != nil {
			return nil, err
		}
	}
	if in.Privileged {
		return spec, nil
	}
	switch in.Seccomp {
	case "", "Unconfined":
	case "RuntimeDefault":
		if spec.Linux.Seccomp, err = defaultSeccomp(spec); err != nil {
			return nil, err
		}
	case "Localhost":
		if spec.Linux.Seccomp, err = localSeccomp(in.SeccompPath); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("unknown seccomp profile %q", in.Seccomp)
	}
	return spec, nil
}

// environment puts a PATH, the terminal and the host name before what image and pod say; the last of a name wins.
func environment(in Input) []string {
	env := []string{defaultPath}
	if in.Hostname != "" {
		env = append(env, "HOSTNAME="+in.Hostname)
	}
	if in.TTY {
		env = append(env, "TERM=xterm")
	}
	return MergeEnv(env, in.Env)
}

// MergeEnv appends, and replaces in place what has a name that is there already.
func MergeEnv(base, over []string) []string {
	out := slices.Clone(base)
	at := map[string]int{}
	for i, e := range out {
		name, _, _ := strings.Cut(e, "=")
		at[name] = i
	}
	for _, e := range over {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			out[i] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	return out
}

func namespaces(ns Namespaces, node Node) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	for _, n := range []specs.LinuxNamespace{
		{Type: specs.NetworkNamespace, Path: ns.Net},
		{Type: specs.IPCNamespace, Path: ns.IPC},
		{Type: specs.UTSNamespace, Path: ns.UTS},
		{Type: specs.PIDNamespace, Path: ns.PID},
	} {
		if n.Path != Host {
			list = append(list, n)
		}
	}
	if node.CgroupV2 {
		list = append(list, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return list
}

func mounts(in Input) ([]specs.Mount, error) {
	access := "ro"
	if in.Privileged {
		access = "rw"
	}
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
	if in.ShmDir != "" {
		list = append(list, specs.Mount{Destination: "/dev/shm", Type: "bind", Source: in.ShmDir,
			Options: []string{"rbind", "rw", "nosuid", "noexec", "nodev"}})
	} else {
		list = append(list, specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}})
	}
	own := slices.Clone(in.Mounts)
	for i := range own {
		own[i].Destination = filepath.Clean("/" + own[i].Destination)
	}
	slices.SortStableFunc(own, func(a, b Mount) int {
		return cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/"))
	})
	list = slices.DeleteFunc(list, func(m specs.Mount) bool {
		return slices.ContainsFunc(own, func(o Mount) bool { return o.Destination == m.Destination })
	})
	for _, m := range own {
		if m.Destination == "/" {
			return nil, fmt.Errorf("invalid mount of %q at /", m.Source)
		}
		options := []string{"rbind", cmp.Or(m.Propagation, "rprivate"), "rw"}
		if m.ReadOnly {
			options[2] = "ro"
		}
		if m.RecursiveReadOnly {
			options[2] = "rro"
		}
		if m.NoExec {
			options = append(options, "noexec")
		}
		list = append(list, specs.Mount{Destination: m.Destination, Type: "bind", Source: m.Source, Options: options})
	}
	return list, nil
}

func resources(in Input, node Node) (*specs.LinuxResources, error) {
	r := in.Resources
	out := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: in.Privileged, Access: "rwm"}}}
	if r.CPUShares > 0 || r.CPUQuota != 0 || r.CpusetCpus != "" || r.CpusetMems != "" {
		out.CPU = &specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
		if r.CPUShares > 0 {
			out.CPU.Shares = &r.CPUShares
		}
		if r.CPUQuota != 0 {
			period := cmp.Or(r.CPUPeriod, 100000)
			out.CPU.Quota, out.CPU.Period = &r.CPUQuota, &period
		}
	}
	if r.MemoryLimit > 0 {
		out.Memory = &specs.LinuxMemory{Limit: &r.MemoryLimit, Swap: &r.MemoryLimit}
	}
	for _, size := range node.PageSizes {
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: hugepage.Name(size), Limit: uint64(in.Hugepages[size])})
	}
	if r.PidsLimit > 0 {
		out.Pids = &specs.LinuxPids{Limit: &r.PidsLimit}
	}
	return out, nil
}

func addDevices(in Input, spec *specs.Spec) error {
	devices := in.Devices
	if in.Privileged {
		devices = append(hostDevices(), devices...)
	}
	for _, d := range devices {
		var st unix.Stat_t
		if err := unix.Stat(d.Source, &st); err != nil {
			return fmt.Errorf("error gathering device information while adding custom device %q: %w", d.Source, err)
		}
		kind := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFCHR:
			kind = "c"
		case unix.S_IFBLK:
			kind = "b"
		default:
			return fmt.Errorf("error gathering device information while adding custom device %q: not a device node", d.Source)
		}
		major, minor, mode := int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev)), os.FileMode(st.Mode&0o777)
		spec.Linux.Devices = append(spec.Linux.Devices, specs.LinuxDevice{Path: d.Destination, Type: kind, Major: major, Minor: minor,
			FileMode: &mode, UID: &st.Uid, GID: &st.Gid})
		if !in.Privileged {
			spec.Linux.Resources.Devices = append(spec.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: kind,
				Major: &major, Minor: &minor, Access: cmp.Or(d.Permissions, "rwm")})
		}
	}
	return nil
}

// hostDevices lists the node's devices for a privileged container, without those that every container has.
func hostDevices() []Device {
	var list []Device
	skip := []string{"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"}
	_ = filepath.WalkDir("/dev", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be read is not passed on
		}
		if slices.Contains(skip, e.Name()) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.Type()&fs.ModeDevice != 0 {
			list = append(list, Device{Source: path, Destination: path})
		}
		return nil
	})
	return list
}
