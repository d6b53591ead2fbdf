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
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/cgroup"
	"kubus.dev/services/agent/internal/network"
	"kubus.dev/services/agent/internal/shim"
	"kubus.dev/services/agent/internal/tree"
)

// sandboxRecord is what is kept about a sandbox: sandbox.json in its folder.
type sandboxRecord struct {
	ID        string      `json:"id"`
	Spec      SandboxSpec `json:"spec"`
	IP        string      `json:"ip,omitempty"`
	Cgroup    string      `json:"cgroup"` // path of the pod's group
	PIDInit   int         `json:"pidInit,omitempty"`
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
	events   *shim.Conn // subscription
	released bool       // the agent lets go: the end of the subscription means nothing
	watching chan struct{}
}

func (s *sandbox) addr() netip.Addr {
	ip, _ := netip.ParseAddr(s.record.IP)
	return ip
}

func (s *sandbox) nsPath(kind string) string {
	return filepath.Join(s.node.opts.nsDir(), s.record.ID, kind)
}

func (s *sandbox) view() Sandbox {
	spec := s.record.Spec
	s.mu.Lock()
	defer s.mu.Unlock()
	v := Sandbox{ID: s.record.ID, PodUID: spec.PodUID, Namespace: spec.Namespace, Name: spec.Name, Attempt: spec.Attempt,
		Labels: spec.Labels, HostNetwork: spec.HostNetwork, CreatedAt: s.record.CreatedAt, State: s.state}
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
	return writeFileAtomic(filepath.Join(s.dir, sandboxFile), data)
}

// RunSandbox implements Runtime.
func (n *Node) RunSandbox(ctx context.Context, spec SandboxSpec) (*Sandbox, error) {
	if spec.PodUID == "" || strings.ContainsAny(spec.PodUID, "/") || strings.Contains(spec.CgroupParent, "..") {
		return nil, fmt.Errorf("pod uid %q or cgroup %q is not valid", spec.PodUID, spec.CgroupParent)
	}
	if spec.RuntimeHandler != "" && spec.RuntimeHandler != "runc" && n.opts.Handlers[spec.RuntimeHandler] == "" {
		return nil, fmt.Errorf("no runtime for %q is configured", spec.RuntimeHandler)
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
		r := s.record.Spec.Resources
		err := cgroup.Limit(s.record.Cgroup, cgroup.Limits{CPUShares: r.CPUShares, CPUQuota: r.CPUQuota, CPUPeriod: r.CPUPeriod,
			MemoryLimit: r.MemoryLimit, PidsLimit: r.PidsLimit})
		if err != nil {
			return fmt.Errorf("limiting the pod's cgroup: %w", err)
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if s.record.Spec.ShareProcessNamespace && !s.record.Spec.HostPID {
		reply, err := s.ask(ctx, &shim.Request{Op: shim.OpPidNS})
		if err != nil {
			return fmt.Errorf("making the pod's process namespace: %w", err)
		}
		s.record.PIDInit = reply.PID
	}
	if err := s.watch(ctx); err != nil {
		return err
	}
	s.record.Whole = true
	s.state = SandboxReady
	return s.save()
}

// startShim starts the shim; its socket is made here, so that it takes connections before it has begun to run.
func (s *sandbox) startShim() error {
	config, err := json.Marshal(shim.Config{RuntimeRoot: s.node.opts.runcDir(), LogMaxSize: s.node.opts.LogMaxSize,
		LogMaxFiles: s.node.opts.LogMaxFiles})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, shim.ConfigFile), config, 0o600); err != nil {
		return err
	}
	listener, err := listen(s.dir)
	if err != nil {
		return fmt.Errorf("listening for the shim: %w", err)
	}
	defer listener.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	stderr, err := os.OpenFile(filepath.Join(s.dir, "shim.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer stderr.Close()
	attr := &unix.SysProcAttr{Setsid: true}
	leave, err := s.node.shimCgroup(attr)
	if err != nil {
		return err
	}
	process, err := os.StartProcess(s.node.opts.Shim, []string{"kubus-shim", s.dir}, &os.ProcAttr{
		Dir: "/", Env: []string{"PATH=" + os.Getenv("PATH"), "GOMAXPROCS=2", "GOTRACEBACK=single"},
		Files: []*os.File{null, stderr, stderr, listener},
		Sys:   attr,
	})
	if err != nil {
		if attr.UseCgroupFD {
			unix.Close(attr.CgroupFD)
		}
		return fmt.Errorf("starting shim: %w", err)
	}
	go func() { // ends with the shim, which it reaps
		leave(process.Pid) // takes milliseconds on v1
		_, _ = process.Wait()
	}()
	return os.WriteFile(filepath.Join(s.dir, "shim.pid"), []byte(strconv.Itoa(process.Pid)), 0o600)
}

// shimCgroup keeps shims out of the agent's own group, which a service manager kills as a whole when it stops the
// agent. On v2 the shim is born in its group, on v1 only the service manager's hierarchy matters.
func (n *Node) shimCgroup(attr *unix.SysProcAttr) (leave func(pid int), err error) {
	path := filepath.Join(n.opts.cgroupRoot(), "shims")
	if n.machine.CgroupV2 {
		dir := filepath.Join(cgroup.Root, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("making the shims' cgroup: %w", err)
		}
		fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("opening the shims' cgroup: %w", err)
		}
		attr.UseCgroupFD, attr.CgroupFD = true, fd
		return func(int) { unix.Close(fd) }, nil
	}
	return func(pid int) {
		dir := filepath.Join(cgroup.Root, "systemd", path)
		if os.MkdirAll(dir, 0o755) == nil { // hosts without that hierarchy have no such service manager
			_ = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		}
	}, nil
}

// listen makes the shim's socket; the folder is opened first, since a socket's path is short.
func listen(dir string) (*os.File, error) {
	folder, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(folder)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), shim.Socket)
	if err := unix.Fchmod(fd, 0o600); err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", folder, shim.Socket)})
		if err == nil {
			err = unix.Listen(fd, 128)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
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

// ask sends one request to the shim and gives its answer.
func (s *sandbox) ask(ctx context.Context, req *shim.Request) (*shim.Reply, error) {
	conn, err := s.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var reply shim.Reply
	if err = conn.Send(req); err == nil {
		_, err = conn.Recv(&reply)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrShimLost, err)
	}
	return &reply, toError(reply.Err())
}

func (s *sandbox) dial() (*shim.Conn, error) {
	conn, err := shim.Dial(s.dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShimLost, err)
	}
	return conn, nil
}

// toError turns the shim's kinds into this package's errors.
func toError(err error) error {
	var e *shim.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Kind {
	case shim.KindNotFound:
		return fmt.Errorf("%w: %s", ErrNotFound, e.Message)
	case shim.KindNotRunning:
		return ErrNotRunning
	}
	return err
}

// watch subscribes to the shim and returns when every status it had is known here; then it goes on until the
// shim ends or the agent lets go.
func (s *sandbox) watch(ctx context.Context) error {
	conn, err := s.dial()
	if err != nil {
		return err
	}
	if err := conn.Send(&shim.Request{Op: shim.OpSubscribe}); err != nil {
		conn.Close()
		return fmt.Errorf("%w: %w", ErrShimLost, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	for {
		var reply shim.Reply
		if _, err := conn.Recv(&reply); err != nil {
			stop()
			conn.Close()
			return fmt.Errorf("%w: %w", ErrShimLost, err)
		}
		if reply.Synced {
			break
		}
		s.node.apply(reply.Status)
	}
	if !stop() {
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		conn.Close()
		return ErrShimLost
	}
	s.events, s.watching = conn, make(chan struct{})
	go s.follow(conn, s.watching) // ends with the connection
	return nil
}

func (s *sandbox) follow(conn *shim.Conn, done chan struct{}) {
	defer close(done)
	for {
		var reply shim.Reply
		if _, err := conn.Recv(&reply); err != nil {
			break
		}
		s.node.apply(reply.Status)
	}
	conn.Close()
	s.mu.Lock()
	released := s.released
	s.mu.Unlock()
	if !released {
		go s.reconnect() // ends at once; follow must end first
	}
}

// reconnect tells a subscription that was cut off for being slow from a shim that is gone.
func (s *sandbox) reconnect() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.watch(ctx); err == nil {
		return
	}
	s.lost()
}

// letGo ends the subscription and waits for its goroutine.
func (s *sandbox) letGo() {
	s.mu.Lock()
	s.released = true
	conn, done := s.events, s.watching
	s.mu.Unlock()
	if conn != nil {
		conn.Close()
		<-done
	}
}

// lost handles the end of a shim that nobody asked for: what it held is killed and reported as ended.
func (s *sandbox) lost() {
	s.mu.Lock()
	if s.released || s.state == SandboxNotReady {
		s.mu.Unlock()
		return
	}
	s.state = SandboxNotReady
	s.mu.Unlock()
	s.node.log.Warn("the pod's shim is gone; its containers are killed", zap.String("sandbox", s.record.ID),
		zap.String("namespace", s.record.Spec.Namespace), zap.String("pod", s.record.Spec.Name))
	s.killAll()
	for _, c := range s.node.containersOf(s.record.ID) {
		c.endWithoutShim()
	}
	s.node.events.add(Event{Type: SandboxStopped, SandboxID: s.record.ID, PodUID: s.record.Spec.PodUID})
}

// killAll kills every process of the pod without the shim and removes its cgroups and the runtime's state.
func (s *sandbox) killAll() {
	dirs := cgroup.Dirs(s.record.Cgroup)
	cgroup.Kill(dirs)
	if s.record.PIDInit > 0 && isShimInit(s.record.PIDInit) {
		_ = unix.Kill(s.record.PIDInit, unix.SIGKILL)
	}
	_ = cgroup.Remove(dirs, 2*time.Second)
	for _, c := range s.node.containersOf(s.record.ID) {
		_ = os.RemoveAll(filepath.Join(s.node.opts.runcDir(), c.record.ID))
	}
}

func isShimInit(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.HasPrefix(string(data), "kubus-shim\x00init")
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

// shutdown has the shim kill its containers, tell their ends and end itself; a shim that does not is killed.
func (s *sandbox) shutdown(ctx context.Context) {
	limit, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	if conn, err := s.dial(); err == nil {
		stop := context.AfterFunc(limit, func() { conn.Close() })
		if conn.Send(&shim.Request{Op: shim.OpShutdown}) == nil {
			var ignored shim.Reply
			_, _ = conn.Recv(&ignored) // the end of the connection
		}
		stop()
		conn.Close()
	}
	s.mu.Lock()
	watching := s.watching
	s.mu.Unlock()
	if watching != nil {
		select {
		case <-watching: // all that it had to tell has been heard
		case <-limit.Done():
		}
	}
	s.killShim()
}

// killShim kills the shim's process, if there is one.
func (s *sandbox) killShim() {
	data, err := os.ReadFile(filepath.Join(s.dir, "shim.pid"))
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		return
	}
	if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && string(cmdline) == "kubus-shim\x00"+s.dir+"\x00" {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
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

// adoptSandbox takes one folder of the run folder over, or removes it.
func (n *Node) adoptSandbox(ctx context.Context, id string) {
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
	limit, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = s.watch(limit)
	if err == nil {
		err = s.settle(limit)
	}
	if err != nil {
		log.Warn("adopting a sandbox", zap.Error(err))
		s.lost()
	}
}

// settle finds out about the containers whose start was asked for, or was about to be, when the last agent died,
// and of which the shim has told nothing. One whose start never reached it is as it was before.
func (s *sandbox) settle(ctx context.Context) error {
	for _, c := range s.node.containersOf(s.record.ID) {
		if c.view().State != ContainerUnknown {
			continue
		}
		reply, err := s.ask(ctx, &shim.Request{Op: shim.OpSettle, ID: c.record.ID})
		var refused *shim.Error
		switch {
		case err == nil && reply.Status != nil:
			if st := reply.Status; st.Running || !st.FinishedAt.IsZero() {
				s.node.apply(st)
			} // else it is being started, and the subscription will tell
		case errors.Is(err, ErrNotFound), errors.As(err, &refused): // or a shim of before, which knows no such question
			if err := c.unstart(); err != nil {
				return err
			}
		case err != nil:
			return err
		}
	}
	return nil
}
