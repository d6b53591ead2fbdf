package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/cgroup"
	"kubus.dev/services/agent/internal/image"
	"kubus.dev/services/agent/internal/oci"
	"kubus.dev/services/agent/internal/shim"
	"kubus.dev/services/agent/internal/tree"
	"kubus.dev/services/kit/file"
)

// containerRecord is what is kept about a container: container.json in its folder.
type containerRecord struct {
	ID         string        `json:"id"`
	SandboxID  string        `json:"sandboxID"`
	PodUID     string        `json:"podUID"`
	Spec       ContainerSpec `json:"spec"`
	ImageID    string        `json:"imageID"`
	ImageRef   string        `json:"imageRef"`
	StopSignal string        `json:"stopSignal"`
	LogPath    string        `json:"logPath"`
	User       ContainerUser `json:"user"`
	Cgroup     string        `json:"cgroup"`
	CreatedAt  time.Time     `json:"createdAt"`
	Started    bool          `json:"started"` // the shim has been asked to run it
}

const containerFile = "container.json"

// container is one container; its state comes from the shim.
type container struct {
	node    *Node
	sandbox *sandbox
	record  containerRecord
	dir     string

	sizing sync.Mutex // one resize at a time

	mu     sync.Mutex // guards the resources and labels of the record as well
	state  ContainerState
	status shim.Status
	reason string        // set when the shim did not say it
	ended  chan struct{} // closed with Exited
}

func (c *container) save() error {
	data, err := json.Marshal(c.record)
	if err != nil {
		return err
	}
	return file.Replace(filepath.Join(c.dir, containerFile), data, 0o600)
}

// CreateContainer implements Runtime.
func (n *Node) CreateContainer(_ context.Context, sandboxID string, spec ContainerSpec) (string, error) {
	s, err := n.sandbox(sandboxID)
	if err != nil {
		return "", err
	}
	if s.view().State != SandboxReady {
		return "", fmt.Errorf("sandbox %s is not ready: %w", sandboxID, ErrShimLost)
	}
	img, release, ok := n.images.Hold(spec.Image)
	if !ok {
		return "", fmt.Errorf("image %q: %w", spec.Image, ErrNotFound)
	}
	defer release() // the container is known by then
	id := newID()
	c := &container{node: n, sandbox: s, dir: filepath.Join(s.dir, id), state: ContainerCreated, ended: make(chan struct{})}
	c.status.ID = id
	c.record = containerRecord{ID: id, SandboxID: sandboxID, PodUID: s.record.Spec.PodUID, Spec: spec, ImageID: img.ID,
		ImageRef: img.ID, StopSignal: cmp.Or(spec.StopSignal, img.Config.StopSignal, "SIGTERM"), LogPath: spec.LogPath,
		Cgroup: filepath.Join(s.record.Cgroup, id), CreatedAt: time.Now().UTC()}
	if len(img.Digests) > 0 {
		c.record.ImageRef = img.Digests[0]
	}
	if c.record.LogPath != "" && !filepath.IsAbs(c.record.LogPath) {
		c.record.LogPath = filepath.Join(s.record.Spec.LogDir, c.record.LogPath)
	}
	if _, err := signalNumber(c.record.StopSignal); err != nil {
		return "", err
	}
	if err := c.prepare(img); err != nil {
		c.discard()
		return "", err
	}
	n.mu.Lock()
	n.containers[id] = c
	n.mu.Unlock()
	return id, nil
}

// prepare makes the bundle: root file system, spec and record.
func (c *container) prepare(img *image.Image) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	rootfs := filepath.Join(c.dir, "rootfs")
	if err := mountOverlay(c.node.images.Lowers(img), c.upper(), rootfs); err != nil {
		return err
	}
	sec := c.record.Spec.Security
	name := sec.RunAsUserName
	if name == "" && sec.RunAsUser == nil {
		name = img.Config.User
	}
	user, err := oci.ResolveUser(rootfs, oci.UserRequest{UID: sec.RunAsUser, GID: sec.RunAsGroup, Name: name,
		Supplemental: sec.SupplementalGroups, Strict: sec.SupplementalGroupsStrict})
	if err != nil {
		return err
	}
	if sec.NonRoot && user.UID == 0 { // the last word: the id that will run, whatever gave it
		return fmt.Errorf("container has runAsNonRoot and image will run as root (container: %s)", c.record.Spec.Name)
	}
	c.record.User = ContainerUser{UID: int64(user.UID), GID: int64(user.GID)}
	for _, g := range user.Groups {
		c.record.User.SupplementalGroups = append(c.record.User.SupplementalGroups, int64(g))
	}
	namespaces, err := c.namespaces()
	if err != nil {
		return err
	}
	spec, err := oci.Build(c.input(img, user, namespaces), c.node.machine)
	if err != nil {
		return err
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "config.json"), data, 0o600); err != nil {
		return err
	}
	return c.save()
}

func (c *container) upper() string { return filepath.Join(c.node.opts.upperDir(), c.record.ID) }

// namespaces are those of the pod, and the processes that the container shares.
func (c *container) namespaces() (oci.Namespaces, error) {
	pod, ns := c.sandbox.record.Spec, c.sandbox.namespaces()
	switch target := c.record.Spec.TargetContainerID; {
	case pod.HostPID:
		ns.PID = oci.Host
	case pod.ShareProcessNamespace:
		ns.PID = c.sandbox.nsPath("pid")
	case target != "":
		t, err := c.node.container(target)
		if err != nil {
			return ns, err
		}
		pid := t.view().PID
		if pid == 0 {
			return ns, fmt.Errorf("target container %s: %w", target, ErrNotRunning)
		}
		ns.PID = filepath.Join(c.dir, "pidns")
		if err := pinProcesses(pid, inContainer(t.record.ID), ns.PID); err != nil {
			return ns, fmt.Errorf("target container %s: %w", target, err)
		}
	}
	return ns, nil
}

func (c *container) input(img *image.Image, user oci.User, ns oci.Namespaces) oci.Input {
	spec, pod := c.record.Spec, c.sandbox.record.Spec
	in := oci.Input{
		Rootfs: filepath.Join(c.dir, "rootfs"), Args: arguments(spec, img), Env: oci.MergeEnv(img.Config.Env, spec.Env),
		WorkingDir: cmp.Or(spec.WorkingDir, img.Config.WorkingDir), Hostname: pod.Hostname, TTY: spec.TTY, User: user,
		CgroupsPath: c.record.Cgroup, Namespaces: ns, ShmDir: filepath.Join(c.sandbox.dir, "shm"),
		Resources:       oci.Resources(spec.Resources),
		AddCapabilities: spec.Security.AddCapabilities, DropCapabilities: spec.Security.DropCapabilities,
		Privileged: spec.Security.Privileged, ReadOnlyRoot: spec.Security.ReadOnlyRoot, NoNewPrivs: spec.Security.NoNewPrivs,
		UnmaskedProc: spec.Security.UnmaskedProc, Seccomp: spec.Security.Seccomp, SeccompPath: spec.Security.SeccompLocalhostPath,
		Annotations: spec.Annotations, CDI: spec.CDI, Hugepages: spec.Hugepages,
	}
	if pod.HostIPC {
		in.ShmDir = "/dev/shm"
	}
	if pod.HostNetwork {
		in.Hostname, _ = os.Hostname()
	}
	for _, m := range spec.Mounts {
		in.Mounts = append(in.Mounts, oci.Mount{Source: m.HostPath, Destination: m.ContainerPath, ReadOnly: m.ReadOnly,
			RecursiveReadOnly: m.RecursiveReadOnly, NoExec: m.NoExec, Propagation: string(m.Propagation)})
	}
	for _, d := range spec.Devices {
		in.Devices = append(in.Devices, oci.Device{Source: d.HostPath, Destination: d.ContainerPath, Permissions: d.Permissions})
	}
	return in
}

// arguments follows Kubernetes: a command replaces entrypoint and cmd, args alone replace cmd.
func arguments(spec ContainerSpec, img *image.Image) []string {
	if len(spec.Command) > 0 {
		return slices.Concat(spec.Command, spec.Args)
	}
	if len(spec.Args) > 0 {
		return slices.Concat(img.Config.Entrypoint, spec.Args)
	}
	return slices.Concat(img.Config.Entrypoint, img.Config.Cmd)
}

func signalNumber(name string) (unix.Signal, error) {
	upper := strings.ToUpper(name)
	if sig := unix.SignalNum(upper); sig != 0 {
		return sig, nil
	}
	if sig := unix.SignalNum("SIG" + upper); sig != 0 {
		return sig, nil
	}
	var n int
	if _, err := fmt.Sscanf(upper, "SIGRTMIN+%d", &n); err == nil && n >= 0 && n <= 30 {
		return unix.Signal(34 + n), nil
	}
	if _, err := fmt.Sscanf(upper, "%d", &n); err == nil && n > 0 && n < 65 {
		return unix.Signal(n), nil
	}
	return 0, fmt.Errorf("unknown signal %q", name)
}

// StartContainer implements Runtime.
func (n *Node) StartContainer(ctx context.Context, id string) error {
	c, err := n.container(id)
	if err != nil {
		return err
	}
	program, direct, err := n.opts.program(c.sandbox.record.Spec.RuntimeHandler)
	if err != nil {
		return err // it was configured when the sandbox was made
	}
	c.mu.Lock()
	fresh := c.state == ContainerCreated && !c.record.Started
	c.record.Started = c.record.Started || fresh
	c.mu.Unlock()
	if !fresh {
		return fmt.Errorf("container %s has been started before", id)
	}
	if err := c.save(); err != nil {
		return err
	}
	if c.record.LogPath != "" {
		if err := os.MkdirAll(filepath.Dir(c.record.LogPath), 0o755); err != nil {
			return fmt.Errorf("making the log folder: %w", err)
		}
	}
	start := &shim.StartRequest{Runtime: program, LogPath: c.record.LogPath,
		Stdin: c.record.Spec.Stdin, StdinOnce: c.record.Spec.StdinOnce, TTY: c.record.Spec.TTY,
		Cgroups: cgroup.Dirs(c.record.Cgroup), Direct: direct}
	// A start that has been sent cannot be taken back: its answer is awaited whatever the caller's context says.
	reply, err := c.sandbox.ask(context.WithoutCancel(ctx), &shim.Request{Op: shim.OpStart, ID: id, Start: start})
	if err == nil {
		n.apply(reply.Status)
		return nil
	}
	var refused *shim.Error
	if !errors.As(err, &refused) {
		return err // the shim is lost, which has its own way
	}
	message := refused.Message
	if refused.Kind == shim.KindRuntime {
		message = "failed to create containerd task: failed to create shim task: OCI runtime create failed: " + message
	}
	now := time.Now().UTC()
	n.apply(&shim.Status{ID: id, StartedAt: now, FinishedAt: now, ExitCode: 128, Error: message})
	return errors.New(message)
}

// unstart says that a container's start was never asked for.
func (c *container) unstart() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != ContainerUnknown { // its news came meanwhile
		return nil
	}
	c.state, c.record.Started = ContainerCreated, false
	c.node.events.add(Event{Type: ContainerUnstarted, SandboxID: c.record.SandboxID, PodUID: c.record.PodUID, ContainerID: c.record.ID})
	return c.save()
}

// apply takes a status from a shim. It may come twice and late; a container only moves forward.
func (n *Node) apply(st *shim.Status) {
	if st == nil {
		return
	}
	n.mu.Lock()
	c := n.containers[st.ID]
	n.mu.Unlock()
	if c != nil {
		c.apply(*st, "")
	}
}

func (c *container) apply(st shim.Status, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := ContainerExited
	if st.Running {
		next = ContainerRunning
	}
	if next <= c.state && c.state != ContainerUnknown {
		return
	}
	startedNow := c.state < ContainerRunning && st.Error == "" && !st.StartedAt.IsZero()
	c.state, c.status, c.reason = next, st, reason
	event := Event{SandboxID: c.record.SandboxID, PodUID: c.record.PodUID, ContainerID: c.record.ID, StartedAt: st.StartedAt}
	if startedNow {
		event.Type = ContainerStarted
		c.node.events.add(event)
	}
	if next == ContainerExited {
		close(c.ended)
		event.Type, event.ExitCode, event.OOMKilled, event.FinishAt = ContainerStopped, st.ExitCode, st.OOMKilled, st.FinishedAt
		c.node.events.add(event)
	}
}

// endWithoutShim settles a container whose shim is gone or will not say: by what the shim left on disk, else as killed.
func (c *container) endWithoutShim() {
	c.mu.Lock()
	state, last, started := c.state, c.status, c.record.Started
	c.mu.Unlock()
	if state == ContainerExited || !started {
		return
	}
	if st, ok := readStatus(c.dir); ok && !st.FinishedAt.IsZero() {
		c.apply(st, "")
		return
	}
	last.ID, last.Running, last.PID = c.record.ID, false, 0
	last.ExitCode, last.FinishedAt = 137, time.Now().UTC()
	if last.StartedAt.IsZero() {
		last.StartedAt = last.FinishedAt
	}
	c.apply(last, ReasonUnknown)
}

func readStatus(dir string) (shim.Status, bool) {
	var st shim.Status
	data, err := os.ReadFile(filepath.Join(dir, shim.StatusFile))
	return st, err == nil && json.Unmarshal(data, &st) == nil
}

// StopContainer implements Runtime.
func (n *Node) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	c, err := n.container(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if !c.running() {
		return nil
	}
	if grace > 0 {
		sig, err := signalNumber(c.record.StopSignal)
		if err != nil {
			return err
		}
		patience, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		_, err = c.sandbox.ask(patience, &shim.Request{Op: shim.OpSignal, ID: id, Signal: int(sig)})
		if err != nil && patience.Err() == nil && c.running() && !errors.Is(err, ErrNotRunning) {
			return err
		}
		select {
		case <-c.ended:
			return nil
		case <-patience.Done():
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return c.kill(ctx)
}

func (c *container) running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == ContainerRunning || c.state == ContainerUnknown
}

// askPatience bounds the wait for a shim's answer where there is a way without it.
const askPatience = 2 * time.Second

// kill kills the whole cgroup and waits for the container's end. When nothing is left in the cgroup and its shim says
// nothing, that is the end.
func (c *container) kill(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	dirs := cgroup.Dirs(c.record.Cgroup)
	if _, err := c.sandbox.ask(patience, &shim.Request{Op: shim.OpSignal, ID: c.record.ID, All: true}); err != nil {
		cgroup.Kill(dirs)
	}
	timer := time.NewTimer(stopPatience)
	defer timer.Stop()
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	if len(cgroup.Processes(dirs)) > 0 {
		return fmt.Errorf("container %s did not end within %s of SIGKILL", c.record.ID, stopPatience)
	}
	c.endWithoutShim()
	return nil
}

// RemoveContainer implements Runtime.
func (n *Node) RemoveContainer(ctx context.Context, id string) error {
	c, err := n.container(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if c.running() {
		if err := c.kill(ctx); err != nil {
			return err
		}
	}
	patience, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	_, err = c.sandbox.ask(patience, &shim.Request{Op: shim.OpForget, ID: id})
	if err != nil && patience.Err() == nil && !errors.Is(err, ErrShimLost) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.remove()
}

// remove removes a container that has ended.
func (c *container) remove() error {
	if err := c.discard(); err != nil {
		return fmt.Errorf("removing container: %w", err)
	}
	c.node.mu.Lock()
	delete(c.node.containers, c.record.ID)
	c.node.mu.Unlock()
	c.node.images.Touch(c.record.ImageID)
	return nil
}

// discard removes the container's files.
func (c *container) discard() error {
	if err := tree.Unmount(filepath.Join(c.dir, "rootfs")); err != nil {
		return err
	}
	return errors.Join(tree.Clear(c.dir), tree.Clear(c.upper()))
}

func (n *Node) containersOf(sandboxID string) []*container {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []*container
	for _, c := range n.containers {
		if c.record.SandboxID == sandboxID {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *container) int {
		return cmp.Or(a.record.CreatedAt.Compare(b.record.CreatedAt), cmp.Compare(a.record.ID, b.record.ID))
	})
	return list
}

// Containers implements Runtime.
func (n *Node) Containers(sandboxID string) []ContainerStatus {
	var list []ContainerStatus
	for _, c := range n.containersOf(sandboxID) {
		list = append(list, c.view())
	}
	return list
}

// ContainerStatus implements Runtime.
func (n *Node) ContainerStatus(id string) (*ContainerStatus, bool) {
	c, err := n.container(id)
	if err != nil {
		return nil, false
	}
	v := c.view()
	return &v, true
}

func (c *container) view() ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.status
	v := ContainerStatus{ID: c.record.ID, SandboxID: c.record.SandboxID, Name: c.record.Spec.Name, Attempt: c.record.Spec.Attempt,
		Image: c.record.Spec.Image, ImageID: c.record.ImageID, ImageRef: c.record.ImageRef, Labels: c.record.Spec.Labels,
		State: c.state, CreatedAt: c.record.CreatedAt, StartedAt: st.StartedAt, FinishedAt: st.FinishedAt, ExitCode: st.ExitCode,
		Signal: st.Signal, Message: st.Error, LogPath: c.record.LogPath, Cgroup: c.record.Cgroup, User: c.record.User,
		Resources: c.record.Spec.Resources}
	if c.state == ContainerRunning {
		v.PID = st.PID
	}
	if c.state == ContainerExited {
		v.Reason = endReason(st, c.reason)
	}
	return v
}

func endReason(st shim.Status, given string) string {
	switch {
	case given != "":
		return given
	case st.Error != "":
		return ReasonStart
	case st.OOMKilled:
		return ReasonOOMKilled
	case st.ExitCode == 0:
		return ReasonCompleted
	}
	return ReasonError
}

// loadContainers reads the records of a sandbox after a restart; half-made containers are removed.
func (n *Node) loadContainers(s *sandbox, log *zap.Logger) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		log.Warn("reading sandbox folder", zap.Error(err))
		return
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "shm" || e.Name() == s.record.ID {
			continue
		}
		c := &container{node: n, sandbox: s, dir: filepath.Join(s.dir, e.Name()), state: ContainerCreated, ended: make(chan struct{})}
		data, err := os.ReadFile(filepath.Join(c.dir, containerFile))
		if err == nil {
			err = json.Unmarshal(data, &c.record)
		}
		if err != nil {
			c.record.ID = e.Name()
			if err := c.discard(); err != nil {
				log.Warn("removing a container that is not whole", zap.String("container", e.Name()), zap.Error(err))
			}
			continue
		}
		c.status.ID = c.record.ID
		if c.record.Started {
			c.state = ContainerUnknown // until the shim or the disk says
		}
		n.mu.Lock()
		n.containers[c.record.ID] = c
		n.mu.Unlock()
		if st, ok := readStatus(c.dir); ok && !st.FinishedAt.IsZero() {
			c.apply(st, "")
		}
	}
}

// readSpec is the container's OCI spec.
func (c *container) readSpec() (*specs.Spec, error) {
	data, err := os.ReadFile(filepath.Join(c.dir, "config.json"))
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{}
	return spec, json.Unmarshal(data, spec)
}
