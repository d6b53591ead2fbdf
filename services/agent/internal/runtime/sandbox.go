package runtime

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/cgroup"
	"kubus.dev/services/agent/internal/network"
	"kubus.dev/services/agent/internal/oci"
	"kubus.dev/services/agent/internal/tree"
	"kubus.dev/services/kit/file"
)

// sandboxRecord is what is kept about a sandbox: sandbox.json in its folder.
type sandboxRecord struct {
	ID        string      `json:"id"`
	Spec      SandboxSpec `json:"spec"`
	IP        string      `json:"ip,omitempty"`
	Cgroup    string      `json:"cgroup"`            // path of the pod's group
	Resized   *Resources  `json:"resized,omitempty"` // of the group, where they are no longer those of the spec
	PIDInit   int         `json:"pidInit,omitempty"` // set by agents of before; see adoptInit
	CreatedAt time.Time   `json:"createdAt"`
	Whole     bool        `json:"whole"`   // everything was made
	Stopped   bool        `json:"stopped"` // its network and namespaces are gone
}

const sandboxFile = "sandbox.json"

// sandbox is a pod's surroundings and the connection to its shim.
type sandbox struct {
	node   *Node
	record sandboxRecord
	dir    string

	work sync.Mutex // one stop or removal at a time

	mu       sync.Mutex
	state    SandboxState
	released bool               // the agent lets go: the shim is not followed any more
	unfollow context.CancelFunc // ends following
	watching chan struct{}      // closed when the shim is not followed any more
}

func (s *sandbox) addr() netip.Addr {
	ip, _ := netip.ParseAddr(s.record.IP)
	return ip
}

func (s *sandbox) nsPath(kind string) string {
	return filepath.Join(s.node.opts.nsDir(), s.record.ID, kind)
}

// namespaces are what every container of the pod joins.
func (s *sandbox) namespaces() oci.Namespaces {
	ns := oci.Namespaces{Net: s.nsPath("net"), IPC: s.nsPath("ipc"), UTS: s.nsPath("uts")}
	if s.record.Spec.HostNetwork {
		ns.Net, ns.UTS = oci.Host, oci.Host
	}
	if s.record.Spec.HostIPC {
		ns.IPC = oci.Host
	}
	return ns
}

func (s *sandbox) view() Sandbox {
	spec := s.record.Spec
	s.mu.Lock()
	defer s.mu.Unlock()
	v := Sandbox{ID: s.record.ID, PodUID: spec.PodUID, Namespace: spec.Namespace, Name: spec.Name, Attempt: spec.Attempt,
		Labels: spec.Labels, HostNetwork: spec.HostNetwork, CreatedAt: s.record.CreatedAt, State: s.state, Resources: s.resourcesLocked()}
	if s.record.IP != "" {
		v.IPs = []string{s.record.IP}
		v.NetNSPath = s.nsPath("net")
	}
	return v
}

func (s *sandbox) save() error {
	data, err := json.Marshal(s.record)
	if err != nil {
		return err
	}
	return file.Replace(filepath.Join(s.dir, sandboxFile), data, 0o600)
}

// RunSandbox implements Runtime.
func (n *Node) RunSandbox(ctx context.Context, spec SandboxSpec) (*Sandbox, error) {
	if spec.PodUID == "" || strings.ContainsAny(spec.PodUID, "/") || strings.Contains(spec.CgroupParent, "..") {
		return nil, fmt.Errorf("pod uid %q or cgroup %q is not valid", spec.PodUID, spec.CgroupParent)
	}
	if _, _, err := n.opts.program(spec.RuntimeHandler); err != nil {
		return nil, err
	}
	id := newID()
	s := &sandbox{node: n, dir: n.opts.sandboxDir(id), record: sandboxRecord{ID: id, Spec: spec, CreatedAt: time.Now().UTC(),
		Cgroup: filepath.Join(n.opts.cgroupRoot(), cmp.Or(spec.CgroupParent, "pod"+spec.PodUID))}}
	if err := s.make(ctx); err != nil {
		// The caller may have given up; what was made is taken back all the same.
		if rerr := s.destroy(context.WithoutCancel(ctx)); rerr != nil {
			n.log.Warn("removing a sandbox that could not be made", zap.String("sandbox", id), zap.Error(rerr))
		}
		return nil, err
	}
	n.mu.Lock()
	n.sandboxes[id] = s
	n.mu.Unlock()
	v := s.view()
	return &v, nil
}

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (s *sandbox) make(ctx context.Context) error {
	var lease *network.Lease
	if !s.record.Spec.HostNetwork {
		var err error
		if lease, err = s.node.network.Reserve(s.record.ID); errors.Is(err, network.ErrNotReady) {
			return ErrNoNetwork
		} else if err != nil {
			return fmt.Errorf("failed to setup network for sandbox: %w", err)
		}
		s.record.IP = lease.IP.String()
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := s.save(); err != nil { // from here on a crash leaves something that adopt finds
		return err
	}
	var group errgroup.Group
	group.Go(func() error { return s.startShim() })
	group.Go(func() error { return s.makeNamespaces(ctx, lease) })
	group.Go(func() error {
		if err := cgroup.Limit(s.record.Cgroup, limitsOf(s.record.Spec.Resources)); err != nil {
			return fmt.Errorf("limiting the pod's cgroup: %w", err)
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if s.record.Spec.ShareProcessNamespace && !s.record.Spec.HostPID {
		if err := s.startInit(ctx); err != nil {
			return fmt.Errorf("making the pod's process namespace: %w", err)
		}
	}
	s.state = SandboxReady
	if err := s.watch(ctx); err != nil {
		return err
	}
	s.record.Whole = true
	return s.save()
}

func (s *sandbox) makeNamespaces(ctx context.Context, lease *network.Lease) error {
	spec := s.record.Spec
	ns := network.NamespaceSpec{Dir: filepath.Join(s.node.opts.nsDir(), s.record.ID), Net: !spec.HostNetwork, IPC: !spec.HostIPC}
	if !spec.HostNetwork {
		ns.Hostname, ns.Domainname = cmp.Or(spec.Hostname, "localhost"), spec.Domainname
		ns.Inside = lease.Connect
	}
	ns.Sysctls = podSysctls(spec)
	if err := network.NewNamespaces(ns); err != nil {
		return fmt.Errorf("failed to setup network for sandbox: %w", err)
	}
	if lease != nil {
		if err := lease.Plug(ctx, portMappings(spec.PortMappings)); err != nil {
			return fmt.Errorf("failed to setup network for sandbox: %w", err)
		}
	}
	if spec.HostIPC {
		return nil
	}
	shm := filepath.Join(s.dir, "shm")
	if err := os.MkdirAll(shm, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("shm", shm, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "mode=1777,size=67108864"); err != nil {
		return fmt.Errorf("mounting the pod's /dev/shm: %w", err)
	}
	return nil
}

// podSysctls adds what containers may count on without privileges: low ports and ping.
func podSysctls(spec SandboxSpec) map[string]string {
	all := map[string]string{}
	if !spec.HostNetwork {
		all["net.ipv4.ip_unprivileged_port_start"] = "0"
		all["net.ipv4.ping_group_range"] = "0 2147483647"
	}
	for name, value := range spec.Sysctls {
		all[strings.ReplaceAll(name, "/", ".")] = value
	}
	return all
}

func portMappings(in []PortMapping) []network.PortMapping {
	var out []network.PortMapping
	for _, p := range in {
		out = append(out, network.PortMapping{Protocol: strings.ToLower(cmp.Or(p.Protocol, "tcp")), HostIP: p.HostIP,
			HostPort: p.HostPort, ContainerPort: p.ContainerPort})
	}
	return out
}

// killAll kills every process of the pod without the shim and removes its cgroups and the runtime's state.
func (s *sandbox) killAll() {
	dirs := cgroup.Dirs(s.record.Cgroup)
	cgroup.Kill(dirs)
	_ = cgroup.Remove(dirs, 2*time.Second)
	for _, c := range s.node.containersOf(s.record.ID) {
		_ = os.RemoveAll(filepath.Join(s.node.opts.runcDir(), c.record.ID))
	}
	_ = os.RemoveAll(filepath.Join(s.node.opts.runcDir(), s.record.ID)) // of its init
}

// Sandboxes implements Runtime.
func (n *Node) Sandboxes() []Sandbox {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]Sandbox, 0, len(n.sandboxes))
	for _, s := range n.sandboxes {
		list = append(list, s.view())
	}
	slices.SortFunc(list, func(a, b Sandbox) int { return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID)) })
	return list
}

// StopSandbox implements Runtime.
func (n *Node) StopSandbox(ctx context.Context, id string) error {
	s, err := n.sandbox(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return s.stop(ctx)
}

func (s *sandbox) stop(ctx context.Context) error {
	s.work.Lock()
	defer s.work.Unlock()
	if s.record.Stopped {
		return nil
	}
	s.mu.Lock()
	s.state = SandboxNotReady
	s.mu.Unlock()
	s.shutdown(ctx)
	s.letGo()
	s.killAll()
	for _, c := range s.node.containersOf(s.record.ID) {
		c.endWithoutShim()
	}
	if err := s.takeDown(ctx); err != nil {
		return err
	}
	s.record.Stopped = true
	return s.save()
}

// takeDown gives back network and namespaces.
func (s *sandbox) takeDown(ctx context.Context) error {
	var errs error
	if !s.record.Spec.HostNetwork {
		errs = s.node.network.Detach(ctx, s.record.ID, s.addr())
	}
	errs = errors.Join(errs, network.RemoveNamespaces(filepath.Join(s.node.opts.nsDir(), s.record.ID)))
	return errors.Join(errs, tree.Unmount(filepath.Join(s.dir, "shm")))
}

// RemoveSandbox implements Runtime.
func (n *Node) RemoveSandbox(ctx context.Context, id string) error {
	s, err := n.sandbox(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err := s.stop(ctx); err != nil {
		return err
	}
	s.work.Lock()
	defer s.work.Unlock()
	for _, c := range n.containersOf(id) {
		if err := c.remove(); err != nil {
			return err
		}
	}
	if err := tree.Clear(s.dir); err != nil {
		return fmt.Errorf("removing sandbox: %w", err)
	}
	n.mu.Lock()
	delete(n.sandboxes, id)
	n.mu.Unlock()
	return nil
}

// destroy takes back a sandbox that is not whole, as after a crash while it was made.
func (s *sandbox) destroy(ctx context.Context) error {
	s.mu.Lock()
	s.state = SandboxNotReady
	s.mu.Unlock()
	s.shutdown(ctx)
	s.letGo()
	s.killAll()
	err := s.takeDown(ctx)
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, tree.Unmount(filepath.Join(s.dir, e.Name(), "rootfs")))
			err = errors.Join(err, tree.Clear(filepath.Join(s.node.opts.upperDir(), e.Name())))
		}
	}
	if err != nil {
		return err
	}
	return tree.Clear(s.dir)
}

// adoptSandbox takes one folder of the run folder over, or removes it. A shim that says nothing before limit ends is
// alive all the same: what it holds becomes known later.
func (n *Node) adoptSandbox(ctx, limit context.Context, id string) {
	s := &sandbox{node: n, dir: n.opts.sandboxDir(id)}
	log := n.log.With(zap.String("sandbox", id))
	data, err := os.ReadFile(filepath.Join(s.dir, sandboxFile))
	if err == nil {
		err = json.Unmarshal(data, &s.record)
	}
	if err != nil || !s.record.Whole || s.record.ID != id {
		s.record.ID = id
		if s.record.Cgroup == "" {
			s.record.Cgroup = filepath.Join(n.opts.cgroupRoot(), "none")
		}
		if err := s.destroy(ctx); err != nil {
			log.Warn("removing a sandbox that is not whole", zap.Error(err))
		}
		return
	}
	n.mu.Lock()
	n.sandboxes[id] = s
	n.mu.Unlock()
	n.loadContainers(s, log)
	s.state = SandboxReady
	if s.record.Stopped {
		s.state, s.released = SandboxNotReady, true
		return
	}
	if err := s.adoptInit(); err != nil {
		log.Warn("the pod's process namespace is not kept", zap.Error(err))
	}
	if err := s.watch(limit); limit.Err() != nil && err != nil {
		log.Warn("the pod's shim is silent; its containers go on and are known when it answers",
			zap.String("namespace", s.record.Spec.Namespace), zap.String("pod", s.record.Spec.Name))
	}
}
