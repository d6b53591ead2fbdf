package pod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/runtime"
)

func quantity(s string) resource.Quantity { return resource.MustParse(s) }

// fakeRuntime keeps containers in memory. A container whose first command word
// is "exit" ends at once with the code that follows, with "exit-first" its first attempt alone.
type fakeRuntime struct {
	mu         sync.Mutex
	next       int
	sandboxes  map[string]*runtime.Sandbox
	containers map[string]*runtime.ContainerStatus
	images     map[string]bool
	calls      []string
	events     chan runtime.Event
	pullErr    error
	used       int64 // memory of each container and pod
	resizeErr  error
	held       chan struct{}   // until it is closed no sandbox is made; nil: at once
	stopCode   int             // of containers that were asked to end
	graces     []time.Duration // that containers were given to stop
	stubborn   bool            // containers end only when the grace of their stop is over
	removeUpTo int             // containers; the next removal fails. -1: no bound
}

func newFakeRuntime() *fakeRuntime {
	return &fakeRuntime{
		sandboxes: map[string]*runtime.Sandbox{}, containers: map[string]*runtime.ContainerStatus{},
		images: map[string]bool{"img": true}, events: make(chan runtime.Event, 1000), stopCode: 143, removeUpTo: -1,
	}
}

func (f *fakeRuntime) call(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fakeRuntime) called(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.calls {
		if c == what {
			n++
		}
	}
	return n
}

func (f *fakeRuntime) ResolveImage(ref string) (*runtime.Image, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &runtime.Image{ID: "sha256:" + ref}, f.images[ref]
}

func (f *fakeRuntime) PullImage(_ context.Context, ref string, _ []runtime.Credential, _ func(string)) (*runtime.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.call("pull %s", ref)
	if f.pullErr != nil {
		return nil, f.pullErr
	}
	f.images[ref] = true
	return &runtime.Image{ID: "sha256:" + ref}, nil
}

func (f *fakeRuntime) MountImage(ref, dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.call("mount %s %s", ref, filepath.Base(dir))
	return nil
}

func (f *fakeRuntime) Images() []runtime.Image                   { return nil }
func (f *fakeRuntime) RemoveImage(context.Context, string) error { return nil }
func (f *fakeRuntime) SetPodCIDR(context.Context, string) error  { return nil }
func (f *fakeRuntime) Version() (string, string)                 { return "fake", "1" }
func (f *fakeRuntime) Close() error                              { return nil }
func (f *fakeRuntime) Events() <-chan runtime.Event              { return f.events }

func (f *fakeRuntime) RunSandbox(_ context.Context, s runtime.SandboxSpec) (*runtime.Sandbox, error) {
	if f.held != nil {
		<-f.held
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	f.call("sandbox %s", s.Name)
	if s.RuntimeHandler != "" {
		f.call("sandbox %s by %s", s.Name, s.RuntimeHandler)
	}
	sb := &runtime.Sandbox{ID: fmt.Sprint("sb", f.next), PodUID: s.PodUID, Name: s.Name, IPs: []string{"10.0.0.2"}, State: runtime.SandboxReady, CreatedAt: time.Now(),
		Resources: s.Resources}
	f.sandboxes[sb.ID] = sb
	out := *sb
	return &out, nil
}

func (f *fakeRuntime) Sandboxes() []runtime.Sandbox {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []runtime.Sandbox
	for _, s := range f.sandboxes {
		out = append(out, *s)
	}
	return out
}

func (f *fakeRuntime) StopSandbox(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.call("stop sandbox")
	if s := f.sandboxes[id]; s != nil {
		s.State = runtime.SandboxNotReady
	}
	return nil
}

func (f *fakeRuntime) RemoveSandbox(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.call("remove sandbox")
	delete(f.sandboxes, id)
	for cid, c := range f.containers {
		if c.SandboxID == id {
			delete(f.containers, cid)
		}
	}
	return nil
}

func (f *fakeRuntime) CreateContainer(_ context.Context, sandbox string, s runtime.ContainerSpec) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sandboxes[sandbox] == nil {
		return "", runtime.ErrNotFound
	}
	f.next++
	id := fmt.Sprint("c", f.next)
	c := &runtime.ContainerStatus{ID: id, SandboxID: sandbox, Name: s.Name, Attempt: s.Attempt, State: runtime.ContainerCreated, CreatedAt: time.Now(), Labels: s.Labels, LogPath: s.LogPath, ImageRef: "ref", Resources: s.Resources}
	if len(s.Command) > 1 && (s.Command[0] == "exit" || s.Command[0] == "exit-first" && s.Attempt == 0) {
		c.Message = s.Command[1] // its fate, until it is started
	}
	f.containers[id] = c
	return id, nil
}

func (f *fakeRuntime) StartContainer(_ context.Context, id string) error {
	f.mu.Lock()
	c := f.containers[id]
	if c == nil {
		f.mu.Unlock()
		return runtime.ErrNotFound
	}
	f.call("start %s %d", c.Name, c.Attempt)
	c.State, c.StartedAt = runtime.ContainerRunning, time.Now()
	fate := c.Message
	c.Message = ""
	f.mu.Unlock()
	if fate != "" {
		var code int
		if _, err := fmt.Sscan(fate, &code); err != nil {
			return err
		}
		f.end(id, code)
	}
	return nil
}

func (f *fakeRuntime) graceOfStops() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.graces)
}

// end makes a container's process end.
func (f *fakeRuntime) end(id string, code int) {
	f.mu.Lock()
	c := f.containers[id]
	if c == nil || c.State != runtime.ContainerRunning {
		f.mu.Unlock()
		return
	}
	c.State, c.ExitCode, c.FinishedAt, c.Reason = runtime.ContainerExited, code, time.Now(), "Error"
	if code == 0 {
		c.Reason = "Completed"
	}
	uid := f.sandboxes[c.SandboxID].PodUID
	f.mu.Unlock()
	f.events <- runtime.Event{Type: runtime.ContainerStopped, ContainerID: id, PodUID: uid}
}

func (f *fakeRuntime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	f.mu.Lock()
	if c := f.containers[id]; c != nil {
		f.call("stop %s", c.Name)
	}
	f.graces = append(f.graces, grace)
	stubborn := f.stubborn
	f.mu.Unlock()
	if stubborn {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(grace):
		}
	}
	f.end(id, f.stopCode)
	return nil
}

func (f *fakeRuntime) ResizeContainer(_ context.Context, id string, r runtime.Resources, labels map[string]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	if c == nil || c.State != runtime.ContainerRunning {
		return runtime.ErrNotRunning
	}
	if f.resizeErr != nil {
		return f.resizeErr
	}
	f.call("resize %s %s", c.Name, show(r))
	c.Resources, c.Labels = r, maps.Clone(c.Labels)
	maps.Copy(c.Labels, labels)
	return nil
}

func (f *fakeRuntime) ResizeSandbox(_ context.Context, id string, r runtime.Resources) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.call("resize pod %s", show(r))
	f.sandboxes[id].Resources = r
	return nil
}

func (f *fakeRuntime) PlaceContainer(_ context.Context, id, cpus string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.call("place %s on %s", f.containers[id].Name, cpus)
	f.containers[id].Resources.CpusetCpus = cpus
	return nil
}

func show(r runtime.Resources) string {
	return fmt.Sprintf("cpu %d/%d memory %dMi", r.CPUShares, r.CPUQuota, r.MemoryLimit>>20)
}

func (f *fakeRuntime) MemoryUsed(string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used, nil
}

func (f *fakeRuntime) RemoveContainer(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.removeUpTo == 0:
		return errors.New("the agent is about to end")
	case f.removeUpTo > 0:
		f.removeUpTo--
	}
	delete(f.containers, id)
	return nil
}

func (f *fakeRuntime) Containers(sandbox string) []runtime.ContainerStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []runtime.ContainerStatus
	for _, c := range f.containers {
		if c.SandboxID == sandbox {
			out = append(out, *c)
		}
	}
	slices.SortFunc(out, func(a, b runtime.ContainerStatus) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return out
}

func (f *fakeRuntime) ContainerStatus(id string) (*runtime.ContainerStatus, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	if c == nil {
		return nil, false
	}
	out := *c
	return &out, true
}

func (f *fakeRuntime) Exec(_ context.Context, id string, o runtime.ExecOptions) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.call("exec %v", o.Command)
	return 0, nil
}

func (f *fakeRuntime) Attach(context.Context, string, runtime.AttachOptions) error {
	return errors.New("not here")
}

func (f *fakeRuntime) PortForward(context.Context, string, []string, uint16, io.ReadWriteCloser) error {
	return errors.New("not here")
}

// recorder takes reports and Events.
type recorder struct {
	mu     sync.Mutex
	status map[types.UID]corev1.PodStatus
	told   map[types.UID][]corev1.PodStatus // all of them
	gone   map[types.UID]bool
	events []string
	rang   chan struct{}
}

func newRecorder() *recorder {
	return &recorder{status: map[types.UID]corev1.PodStatus{}, told: map[types.UID][]corev1.PodStatus{}, gone: map[types.UID]bool{}, rang: make(chan struct{}, 1)}
}

func (r *recorder) Status(pod *corev1.Pod, s *corev1.PodStatus, gone bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status[pod.UID], r.gone[pod.UID] = *s.DeepCopy(), gone
	r.told[pod.UID] = append(r.told[pod.UID], *s.DeepCopy())
	select {
	case r.rang <- struct{}{}:
	default:
	}
	return nil
}

func (r *recorder) Forget(types.UID) {}

func (r *recorder) Pod(_ *corev1.Pod, _, _, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, reason+": "+message)
}
