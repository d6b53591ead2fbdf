package pod

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/device"
	"kubus.dev/services/agent/internal/launch"
	"kubus.dev/services/agent/internal/probe"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/static"
	"kubus.dev/services/agent/internal/status"
	"kubus.dev/services/agent/internal/tree"
	"kubus.dev/services/agent/internal/volume"
)

// Objects gives what pods name, and is told which pods name something.
type Objects interface {
	launch.Objects
	Hold(pod *corev1.Pod)
	Release(uid types.UID)
}

// Classes tells which runtime handler a pod's RuntimeClass means; "" is the node's own.
type Classes interface {
	Handler(ctx context.Context, pod *corev1.Pod) (string, error)
}

// Devices gives containers what device plugins offer.
type Devices interface {
	Wants(pod *corev1.Pod) bool
	// Allocate chooses the devices of a pod's containers. It may be asked again.
	Allocate(ctx context.Context, pod *corev1.Pod) error
	// Prepare says what a container that is about to start gets for its devices; nil for none.
	Prepare(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (*device.Given, error)
	Manages(name corev1.ResourceName) bool
}

// Store keeps pods and their statuses on disk.
type Store interface {
	PodDir(uid types.UID) string
	SavePod(pod *corev1.Pod) error
	SaveStatus(uid types.UID, status *corev1.PodStatus) error
	RemovePod(uid types.UID) error
}

// Reports carries statuses to the cluster.
type Reports interface {
	Status(pod *corev1.Pod, status *corev1.PodStatus, gone bool) error
	Forget(uid types.UID)
}

// Events writes Kubernetes Events.
type Events interface {
	Pod(pod *corev1.Pod, fieldPath, eventType, reason, message string)
}

// Node is what pods need to know of their node.
type Node struct {
	Name           string
	IPs            func() []string // primary first
	Object         func() *corev1.Node
	Reread         func(context.Context) // brings Object to what the API has, if it answers
	MemoryCapacity int64
	DNS            launch.ClusterDNS
	ResolvConf     string                            // the node's own
	LogDir         string                            // pods' logs are below
	SeccompDir     string                            // Localhost profiles
	PodPids        int64                             // limit of processes in a pod; 0: none
	UnsafeSysctls  []string                          // that pods may set nevertheless
	Pressure       func() []corev1.NodeConditionType // what the node is short of; nil: nothing ever
	NoRecursive    []string                          // runtime handlers that cannot mount recursively read-only
}

// Deps are the manager's surroundings.
type Deps struct {
	Runtime     runtime.Runtime
	Store       Store
	Objects     Objects
	Classes     Classes // nil: no pod has one
	CPUs        CPUs    // nil: all containers share all of them
	Devices     Devices // nil: there are none
	Environment *launch.Environment
	Volumes     *volume.Manager
	Forget      func(types.UID)   // drop what is remembered for a pod elsewhere (tokens)
	Pulled      func()            // an image came to the node
	PullEnded   func()            // or could not: the disk may be full
	Over        func(*corev1.Pod) // nothing of a pod is left on the node; it must not call the manager. May be nil
	Probes      *probe.Manager
	Runner      *probe.Runner
	Reports     Reports
	Events      Events
	Node        Node
	Log         *zap.Logger
}

// Manager owns the workers. It is a source.PodSink.
type Manager struct {
	d       Deps
	ctx     context.Context // bounds workers, which outlive the calls that begin them
	running sync.WaitGroup

	mu      sync.Mutex
	workers map[types.UID]*worker
	ended   map[types.UID]bool // reported gone; their objects are about to go
	exits   map[string]chan struct{}
	synced  bool
	down    bool // the node shuts down
}

// NewManager has no pods. Its workers end with ctx; Wait waits for them.
func NewManager(ctx context.Context, d Deps) *Manager {
	return &Manager{d: d, ctx: ctx, workers: map[types.UID]*worker{}, ended: map[types.UID]bool{}, exits: map[string]chan struct{}{}}
}

// Wait waits until all workers have ended, after the context given to NewManager.
func (m *Manager) Wait() { m.running.Wait() }

// Run takes the runtime's events until ctx ends or the runtime closes.
func (m *Manager) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-m.d.Runtime.Events():
			if !ok {
				return nil
			}
			if e.Type == runtime.ContainerStopped {
				m.exited(e.ContainerID)
			}
			m.wake(types.UID(e.PodUID))
		}
	}
}

// Adopt goes on with a pod that was kept on disk, with its last known status.
func (m *Manager) Adopt(pod *corev1.Pod, last *corev1.PodStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.workers[pod.UID] == nil {
		m.begin(pod, last, nil)
	}
}

// Update gives a pod's newest version.
func (m *Manager) Update(pod *corev1.Pod) {
	m.catchUp(pod)
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.workers[pod.UID]; w != nil {
		m.ask(w, pod)
		m.hand(w)
		return
	}
	if m.ended[pod.UID] {
		return
	}
	var rejected *status.Failure
	if pod.DeletionTimestamp == nil && !terminal(pod.Status.Phase) {
		rejected = m.admit(pod)
	}
	m.begin(pod, nil, rejected)
}

// Remove says that the pod's object is gone; what runs of it is ended.
func (m *Manager) Remove(pod *corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ended, pod.UID)
	if w := m.workers[pod.UID]; w != nil {
		w.gone = true
		w.post(w.forced)
		m.settle()
		return
	}
	m.d.Reports.Forget(pod.UID)
}

// Synced says that every pod of the node was given once: sandboxes of no pod are
// orphans, and adopted pods without an object were deleted meanwhile.
func (m *Manager) Synced() {
	m.mu.Lock()
	m.synced = true
	orphans := m.orphans()
	for _, w := range m.workers {
		if !w.seen() {
			w.gone = true
			w.post(w.forced)
		}
	}
	m.settle()
	for _, w := range m.workers {
		if w.held {
			m.hand(w)
		}
	}
	m.mu.Unlock()
	m.running.Add(1)
	go func() {
		defer m.running.Done()
		m.removeSandboxes(orphans)
	}()
}

// orphans are the sandboxes of no pod. The lock is held: the sandbox of a pod that comes later is none of them.
func (m *Manager) orphans() (out []runtime.Sandbox) {
	for _, sb := range m.d.Runtime.Sandboxes() {
		if m.workers[types.UID(sb.PodUID)] == nil {
			out = append(out, sb)
		}
	}
	return out
}

func (m *Manager) removeSandboxes(orphans []runtime.Sandbox) {
	for _, sb := range orphans {
		m.d.Log.Info("removing a sandbox of no pod", zap.String("namespace", sb.Namespace), zap.String("pod", sb.Name), zap.String("uid", sb.PodUID))
		if err := m.d.Runtime.RemoveSandbox(m.ctx, sb.ID); err != nil {
			m.d.Log.Warn("orphan not removed", zap.String("uid", sb.PodUID), zap.Error(err))
		}
	}
}

// Orphans removes what folders of no pod hold; call it after Synced.
func (m *Manager) Orphans(folders []types.UID) {
	for _, uid := range folders {
		m.mu.Lock()
		_, known := m.workers[uid]
		m.mu.Unlock()
		if known {
			continue
		}
		if err := m.d.Volumes.TearDown(uid); err != nil {
			m.d.Log.Warn("volumes of a pod that is gone not removed", zap.String("uid", string(uid)), zap.Error(err))
			continue
		}
		if err := m.d.Store.RemovePod(uid); err != nil {
			m.d.Log.Warn("folder of a pod that is gone not removed", zap.String("uid", string(uid)), zap.Error(err))
		}
	}
}

// OrphanLogs removes what is in the folder of logs of pods that are not here; call it after Synced, and only where the
// folder is this agent's alone.
func (m *Manager) OrphanLogs() {
	entries, err := os.ReadDir(m.d.Node.LogDir)
	if err != nil {
		m.d.Log.Warn("logs of pods that are gone not looked for", zap.Error(err))
		return
	}
	for _, e := range entries {
		uid := e.Name()[strings.LastIndex(e.Name(), "_")+1:]
		m.mu.Lock()
		_, known := m.workers[types.UID(uid)]
		m.mu.Unlock()
		if known || strings.Count(e.Name(), "_") != 2 {
			continue
		}
		if err := tree.Remove(filepath.Join(m.d.Node.LogDir, e.Name())); err != nil {
			m.d.Log.Warn("logs of a pod that is gone not removed", zap.String("uid", uid), zap.Error(err))
		}
	}
}

// Images names the images of all pods that may have containers, those included that have none yet.
func (m *Manager) Images() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.workers {
		for _, p := range w.versions() {
			for _, c := range containersOf(p) {
				names = append(names, c.Image)
			}
			for i := range p.Spec.Volumes {
				if image := p.Spec.Volumes[i].Image; image != nil && image.Reference != "" {
					names = append(names, image.Reference)
				}
			}
		}
	}
	return names
}

// ObjectsChanged says that ConfigMaps or Secrets of these pods changed.
func (m *Manager) ObjectsChanged(uids []types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, uid := range uids {
		if w := m.workers[uid]; w != nil {
			w.post(w.objectsChanged)
		}
	}
}

// Kick makes all workers try again at once what the node's state held up, such
// as sandboxes before the node has a pod CIDR.
func (m *Manager) Kick() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.workers {
		w.post(func() { w.sandboxThing.RetryAt = w.d.now() })
	}
	m.settle()
}

// ProbeChanged says that a probe result of the pod changed.
func (m *Manager) ProbeChanged(uid types.UID) { m.wake(uid) }

func (m *Manager) wake(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.workers[uid]; w != nil {
		w.post(nil)
	}
}

// begin starts a worker; the lock is held.
func (m *Manager) begin(pod *corev1.Pod, last *corev1.PodStatus, rejected *status.Failure) {
	w := newWorker(m, pod, last, rejected)
	m.workers[pod.UID] = w
	m.running.Add(1)
	go func() {
		defer m.running.Done()
		w.run(m.ctx)
	}()
}

// over forgets a worker that has ended.
func (m *Manager) over(w *worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.workers, w.uid)
	m.settle()
	if w.finished && m.d.Over != nil {
		m.d.Over(w.newest)
	}
	if w.removed {
		m.d.Reports.Forget(w.uid)
		return
	}
	if !static.Is(w.newest) { // no object of those will go, and they may come back
		m.ended[w.uid] = true
	}
}

// exited closes the channel of those who wait for a container's end.
func (m *Manager) exited(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.exits[id]; c != nil {
		close(c)
		delete(m.exits, id)
	}
}

// Ended gives a channel that is closed when the container has ended.
func (m *Manager) Ended(id string) <-chan struct{} {
	m.mu.Lock()
	c := m.exits[id]
	if c == nil {
		c = make(chan struct{})
		m.exits[id] = c
	}
	m.mu.Unlock()
	if s, ok := m.d.Runtime.ContainerStatus(id); !ok || s.State == runtime.ContainerExited {
		m.exited(id)
	}
	return c
}

// Running counts the pods that may have containers.
func (m *Manager) Running() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.workers)
}

func terminal(p corev1.PodPhase) bool { return p == corev1.PodFailed || p == corev1.PodSucceeded }

func (n *Node) podLogDir(pod *corev1.Pod) string { return LogDir(n.LogDir, pod) }

// LogDir is the folder of a pod's logs below that of all.
func LogDir(all string, pod *corev1.Pod) string {
	return filepath.Join(all, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}
