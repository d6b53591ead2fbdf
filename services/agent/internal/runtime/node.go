package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/cgroup"
	"kubus.dev/services/agent/internal/image"
	"kubus.dev/services/agent/internal/layer"
	"kubus.dev/services/agent/internal/memory"
	"kubus.dev/services/agent/internal/network"
	"kubus.dev/services/agent/internal/oci"
	"kubus.dev/services/agent/internal/tree"
)

// Node is the Runtime over runc, overlayfs, the bridge network and a shim for each pod.
type Node struct {
	opts    Options
	log     *zap.Logger
	version runcVersion
	machine oci.Node
	images  *image.Store
	network *network.Network
	events  *eventQueue
	lock    *os.File

	mu         sync.Mutex
	sandboxes  map[string]*sandbox
	containers map[string]*container
}

var _ Runtime = (*Node)(nil)

// New opens the node's folders, finds what still runs there and takes it over. Leftovers of what was only half made
// are removed.
func New(ctx context.Context, opts Options) (*Node, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	n := &Node{opts: opts, log: opts.Logger, sandboxes: map[string]*sandbox{}, containers: map[string]*container{}}
	var err error
	if n.version, err = checkRunc(ctx, opts.Runc); err != nil {
		return nil, err
	}
	if err := checkMachine(); err != nil {
		return nil, err
	}
	if n.machine, err = describeMachine(); err != nil {
		return nil, err
	}
	for _, dir := range []string{opts.podsDir(), opts.nsDir(), opts.runcDir(), opts.upperDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the agent's folders: %w", err)
		}
	}
	if n.lock, err = lockDir(opts.RunDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.lock.Close()
			if n.images != nil {
				n.images.Close()
			}
		}
	}()
	if err = forgetBoot(opts); err != nil {
		return nil, err
	}
	if err = memory.Mount(opts.podsDir()); err != nil { // containers' environments are in it
		return nil, err
	}
	n.images, err = image.Open(image.Options{Dir: opts.agentDir(), Insecure: opts.Insecure, Registries: opts.Registries, MinFree: opts.ImageMinFree,
		Unpack: layer.Runner{Program: opts.Shim}, Logger: opts.Logger})
	if err != nil {
		return nil, err
	}
	n.network, err = network.New(network.Options{Instance: opts.Instance, StateDir: filepath.Join(opts.agentDir(), "network"),
		NSDir: opts.nsDir(), MTU: opts.MTU, Overhead: opts.Overhead, ClusterCIDR: opts.ClusterCIDR, Logger: opts.Logger})
	if err != nil {
		return nil, err
	}
	n.events = newEventQueue()
	if err = n.adopt(ctx); err != nil {
		n.events.close()
		return nil, err
	}
	return n, nil
}

func (o *Options) complete() error {
	if o.Instance == "" || strings.ContainsAny(o.Instance, "/. ") {
		return fmt.Errorf("instance %q is not a short name", o.Instance)
	}
	if !filepath.IsAbs(o.DataDir) {
		return fmt.Errorf("data folder %q is not absolute", o.DataDir)
	}
	if strings.ContainsAny(o.DataDir, ":,\\") {
		return fmt.Errorf("data folder %q: overlayfs takes no colon, comma or backslash in a path", o.DataDir)
	}
	if o.RunDir == "" {
		o.RunDir = filepath.Join(runRoot, o.Instance)
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.LogMaxSize == 0 {
		o.LogMaxSize = 10 << 20
	}
	if o.LogMaxFiles == 0 {
		o.LogMaxFiles = 5
	}
	var err error
	if o.Runc, err = findTool(o.Runc, "runc"); err != nil {
		return err
	}
	o.Shim, err = findTool(o.Shim, "kubus-shim")
	return err
}

// findTool looks for a program beside our own, then in PATH.
func findTool(path, name string) (string, error) {
	if path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		return filepath.Abs(path)
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if info, err := os.Stat(beside); err == nil && info.Mode()&0o111 != 0 {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s was found neither beside this program nor in PATH; `make build` builds it", name)
	}
	return filepath.Abs(path)
}

// runRoot holds the run folders of all instances that name none.
const runRoot = "/run/kubus"

func (o *Options) agentDir() string            { return filepath.Join(o.DataDir, "agent") }
func (o *Options) upperDir() string            { return filepath.Join(o.agentDir(), "containers") }
func (o *Options) podsDir() string             { return filepath.Join(o.RunDir, "pods") }
func (o *Options) nsDir() string               { return filepath.Join(o.RunDir, "ns") }
func (o *Options) runcDir() string             { return filepath.Join(o.RunDir, "runc") }
func (o *Options) sandboxDir(id string) string { return filepath.Join(o.podsDir(), id) }
func (o *Options) cgroupRoot() string          { return "/kubus-" + o.Instance }

// lockDir keeps a second agent out of the same folder.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another agent is running with %s", dir)
	}
	return f, nil
}

// forgetBoot empties the run folder after a reboot where it is not on a tmpfs: nothing in it is true any more.
func forgetBoot(opts Options) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	file := filepath.Join(opts.RunDir, "boot_id")
	if old, err := os.ReadFile(file); err == nil && string(old) != string(boot) {
		for _, dir := range []string{opts.podsDir(), opts.nsDir(), opts.runcDir()} {
			if err := tree.Clear(dir); err != nil {
				return fmt.Errorf("removing what was before the reboot: %w", err)
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(file, boot, 0o600)
}

func checkMachine() error {
	if os.Geteuid() != 0 {
		return errors.New("the node agent needs root to run containers; without root, start with --nodes 0")
	}
	data, err := os.ReadFile("/proc/filesystems")
	if err == nil && !strings.Contains(string(data), "\toverlay\n") {
		_ = exec.Command("modprobe", "overlay").Run()
		data, _ = os.ReadFile("/proc/filesystems")
		if !strings.Contains(string(data), "\toverlay\n") {
			return errors.New("the kernel has no overlayfs (modprobe overlay did not help)")
		}
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &how)
	if err != nil {
		return fmt.Errorf("the kernel has no openat2, Linux 5.6 or newer is needed: %w", err)
	}
	return unix.Close(fd)
}

func describeMachine() (oci.Node, error) {
	bounding, err := oci.Bounding()
	if err != nil {
		return oci.Node{}, err
	}
	m := oci.Node{Bounding: bounding, CgroupV2: cgroup.V2(), MinOOMScoreAdj: -1000}
	if !slices.Contains(bounding, "CAP_SYS_RESOURCE") {
		data, err := os.ReadFile("/proc/self/oom_score_adj")
		if err != nil {
			return oci.Node{}, err
		}
		if _, err := fmt.Sscan(string(data), &m.MinOOMScoreAdj); err != nil {
			return oci.Node{}, err
		}
	}
	return m, nil
}

// SetPodCIDR implements Runtime.
func (n *Node) SetPodCIDR(ctx context.Context, cidr string) error { return n.network.Setup(ctx, cidr) }

// Version implements Runtime.
func (n *Node) Version() (name, version string) { return "runc", n.version.String() }

// Events implements Runtime.
func (n *Node) Events() <-chan Event { return n.events.out }

// Close implements Runtime.
func (n *Node) Close() error {
	n.mu.Lock()
	all := make([]*sandbox, 0, len(n.sandboxes))
	for _, s := range n.sandboxes {
		all = append(all, s)
	}
	n.mu.Unlock()
	for _, s := range all {
		s.letGo()
	}
	n.events.close()
	n.images.Close()
	return errors.Join(n.network.Close(), n.lock.Close())
}

// The bounds of adoption: a machine that is starved must not be asked for everything at once, and an agent's start does
// not wait longer for the shims' answers.
const (
	adoptAtOnce   = 8
	adoptPatience = 3 * time.Second
)

// adopt takes over every sandbox whose record is whole and removes the rest.
func (n *Node) adopt(ctx context.Context) error {
	entries, err := os.ReadDir(n.opts.podsDir())
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, adoptPatience)
	defer cancel()
	var work errgroup.Group
	work.SetLimit(adoptAtOnce)
	for _, e := range entries {
		work.Go(func() error {
			n.adoptSandbox(ctx, limit, e.Name())
			return nil
		})
	}
	_ = work.Wait() // a sandbox that cannot be adopted is no reason not to start
	owners := map[string]netip.Addr{}
	for id, s := range n.sandboxes {
		owners[id] = s.addr()
	}
	if err := n.network.Keep(ctx, owners); err != nil {
		n.log.Warn("giving back addresses of sandboxes that are gone", zap.Error(err))
	}
	return n.sweepUppers()
}

// sweepUppers removes writable layers without a container, as after a reboot.
func (n *Node) sweepUppers() error {
	entries, err := os.ReadDir(n.opts.upperDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := n.containers[e.Name()]; ok {
			continue
		}
		if err := tree.Clear(filepath.Join(n.opts.upperDir(), e.Name())); err != nil {
			return fmt.Errorf("removing a left writable layer: %w", err)
		}
	}
	return nil
}

func (n *Node) sandbox(id string) (*sandbox, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.sandboxes[id]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("sandbox %s: %w", id, ErrNotFound)
}

func (n *Node) container(id string) (*container, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.containers[id]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("container %s: %w", id, ErrNotFound)
}

// stopPatience bounds the wait for a process that has been sent SIGKILL.
const stopPatience = 10 * time.Second

// RunDir is the folder for what must not outlive a boot.
func (n *Node) RunDir() string { return n.opts.RunDir }
