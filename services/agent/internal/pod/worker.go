package pod

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/probe"
	"kubus.dev/services/agent/internal/resize"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/status"
	"kubus.dev/services/agent/internal/volume"
)

// quietFor holds back reports that say no more than that the pod is on its way.
const quietFor = 250 * time.Millisecond

// worker runs one pod. The fields below the line belong to its goroutine; all
// else reaches it through post.
type worker struct {
	m   *Manager
	d   *workerDeps
	uid types.UID
	log *zap.Logger
	ops sync.WaitGroup

	// Guarded by the manager's lock.
	newest  *corev1.Pod        // the newest version given
	granted *resize.Allocation // what the node has granted the pod
	waiting bool               // the pod asks for something else
	since   time.Time          // when that was first deferred
	held    bool               // the newest version is not handed over yet

	snapshot atomic.Pointer[Snapshot]
	fromAPI  atomic.Bool // the API has given the pod since we started
	gone     bool        // the object is gone; guarded by the manager's lock

	mu     sync.Mutex
	inbox  []func()
	latest *corev1.Pod // newest version given; nil when taken
	bell   chan struct{}

	// ---- of the worker's goroutine ----
	pod     *corev1.Pod // with the resources it is granted
	asked   *corev1.Pod // with those it asks for
	alloc   *resize.Allocation
	kept    bool // an allocation is on disk
	resize  resizing
	removed bool // the object is gone
	failure *status.Failure
	hurry   *time.Duration   // what containers get at most to end; nil: what the pod says
	free    chan struct{}    // closed when nothing is left of the pod but its object
	cleared bool             // closed
	last    corev1.PodStatus // as generated last
	sent    bool             // a report was made
	freed   bool             // the manager knows that the pod has ended
	bornAt  time.Time

	allotCancel   context.CancelFunc
	allotment     Stage // of CPUs and devices: Ready also when there are none to be had
	sandbox       *runtime.Sandbox
	group         runtime.Resources // limits of its cgroup
	sandboxThing  Thing
	sandboxGate   *gate[*runtime.Sandbox]
	sandboxTries  Backoff
	volumes       Thing
	volumesGate   *gate[*volume.Mounted]
	volumesCancel context.CancelFunc
	renewAt       time.Time
	refreshing    bool
	refreshAgain  bool
	containers    map[string]*container
	restarting    bool // all containers start anew; see restartall.go
	resetting     bool // they are being removed
	closing       bool // the sandbox is being stopped or removed
	closeRetryAt  time.Time
	finished      bool // the worker has nothing more to do
}

type workerDeps struct {
	Deps
	now func() time.Time
}

// container is what the worker remembers of one container.
type container struct {
	busy       bool
	cancel     context.CancelFunc // of the start under way
	stopping   bool
	stop       context.CancelFunc // of the stop under way
	preStop    bool               // the hook has run for this attempt
	stopID     string
	retryAt    time.Time
	flipAt     time.Time // when ErrImagePull becomes ImagePullBackOff
	replacedBy time.Time // see replacing
	crash      Backoff
	pull       Backoff
	waiting    *status.Reason
	records    []*status.Record // newest first, at most two
	exitSeen   string           // id of the attempt whose end has been counted
	again      bool             // stopped so as to start anew
}

// gate lets many wait for the result of one piece of work.
type gate[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func newGate[T any]() *gate[T] { return &gate[T]{done: make(chan struct{})} }

func (g *gate[T]) open(v T, err error) {
	g.value, g.err = v, err
	close(g.done)
}

func (g *gate[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-g.done:
		return g.value, g.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

func newWorker(m *Manager, pod *corev1.Pod, last *corev1.PodStatus, rejected *status.Failure) *worker {
	alloc, kept := m.allocation(pod)
	w := &worker{
		m: m, d: &workerDeps{m.d, time.Now}, uid: pod.UID, pod: alloc.Apply(pod), asked: pod, newest: pod, failure: rejected,
		alloc: alloc, granted: alloc, kept: kept, waiting: alloc.Apply(pod) != pod,
		log:        m.d.Log.With(zap.String("namespace", pod.Namespace), zap.String("pod", pod.Name), zap.String("uid", string(pod.UID))),
		bell:       make(chan struct{}, 1),
		free:       make(chan struct{}),
		containers: map[string]*container{},
	}
	w.last = *pod.Status.DeepCopy()
	if last != nil {
		w.last = *last
	} else {
		w.fromAPI.Store(true)
	}
	w.restarting = status.RestartingAll(&w.last)
	w.resize.remember(w.last.Conditions)
	if !w.waiting {
		w.resize.pending = nil
	} else if w.resize.pending != nil {
		w.since = w.resize.pending.LastTransitionTime.Time
	}
	return w
}

func (w *worker) seen() bool { return w.fromAPI.Load() }

// update hands over a newer version of the pod.
func (w *worker) update(pod *corev1.Pod) {
	w.fromAPI.Store(true)
	w.mu.Lock()
	w.latest = pod
	w.mu.Unlock()
	w.ring()
}

// post runs f on the worker's goroutine; nil only wakes it.
func (w *worker) post(f func()) {
	if f != nil {
		w.mu.Lock()
		w.inbox = append(w.inbox, f)
		w.mu.Unlock()
	}
	w.ring()
}

func (w *worker) ring() {
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

func (w *worker) run(ctx context.Context) {
	defer w.m.over(w)
	defer w.isFree()
	defer w.ops.Wait()
	w.bornAt = w.d.now()
	w.adopt(ctx)
	w.keepPod()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		w.drain()
		if w.finished {
			return
		}
		now := w.d.now()
		w.observe(ctx, now)
		w.probes()
		w.compare(now)
		w.allot(ctx)
		plan := Decide(w.pod, w.world(), now)
		if plan.Expired && w.failure == nil {
			w.failure = &status.Failure{Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline"}
			w.event("", corev1.EventTypeNormal, "DeadlineExceeded", w.failure.Message)
			plan = Decide(w.pod, w.world(), now)
		}
		wake := plan.WakeAt
		earliest(&wake, w.report(plan.Done, now))
		w.publish()
		if w.resize.ended || terminal(w.last.Phase) && !w.freed {
			w.resize.ended, w.freed = false, terminal(w.last.Phase)
			w.m.room()
		}
		w.act(ctx, plan)
		earliest(&wake, w.renewAt)
		if w.closeRetryAt.After(now) {
			earliest(&wake, w.closeRetryAt)
		}
		for _, c := range w.containers {
			earliest(&wake, c.flipAt)
		}
		d := time.Hour
		if !wake.IsZero() {
			d = max(wake.Sub(w.d.now()), 0)
		}
		timer.Reset(d)
		select {
		case <-ctx.Done():
			return
		case <-w.bell:
		case <-timer.C:
		}
	}
}

func earliest(t *time.Time, other time.Time) {
	if !other.IsZero() && (t.IsZero() || other.Before(*t)) {
		*t = other
	}
}

// drain takes what came in.
func (w *worker) drain() {
	w.mu.Lock()
	inbox, latest := w.inbox, w.latest
	w.inbox, w.latest = nil, nil
	w.mu.Unlock()
	for _, f := range inbox {
		f()
	}
	if latest != nil && !w.finished && !w.removed {
		w.take(latest)
	}
}

func (w *worker) take(pod *corev1.Pod) {
	old, images := w.pod, w.images()
	w.asked, w.pod = pod, w.alloc.Apply(pod)
	w.keepPod()
	for name, image := range w.images() {
		if was, ok := images[name]; ok && was != image {
			w.container(name).startAfresh()
		}
	}
	if pod.DeletionTimestamp != nil && graceOf(pod) < graceOf(old) {
		for _, c := range w.containers {
			if c.stopping && c.stop != nil {
				c.stop() // the plan stops it again, with the shorter grace
			}
		}
	}
	if w.volumes.Stage == Ready && (!reflect.DeepEqual(old.Labels, pod.Labels) || !reflect.DeepEqual(old.Annotations, pod.Annotations)) {
		w.refresh()
	}
}

// startAfresh forgets how starts with another image went.
func (c *container) startAfresh() {
	c.crash, c.pull = Backoff{}, Backoff{}
	if !c.busy {
		c.retryAt, c.flipAt = time.Time{}, time.Time{}
	}
}

// images are those of all containers, by the containers' names.
func (w *worker) images() map[string]string {
	out := map[string]string{}
	for _, spec := range w.specs() {
		out[spec.Name] = spec.Image
	}
	return out
}

// forced ends a pod whose object is gone: it was deleted by force, so its
// containers get no more time than one deleted with no grace.
func (w *worker) forced() {
	w.removed = true
	pod, none := w.asked.DeepCopy(), int64(0)
	if pod.DeletionTimestamp == nil {
		pod.DeletionTimestamp = &metav1.Time{Time: w.d.now()}
	}
	pod.DeletionGracePeriodSeconds = &none
	w.take(pod)
}

// keepPod keeps the pod as it was given, and what it is granted where that is something else.
func (w *worker) keepPod() {
	w.d.Objects.Hold(w.pod)
	other := w.pod != w.asked
	if other {
		if err := resize.Save(w.d.Store.PodDir(w.uid), w.alloc); err != nil {
			w.log.Warn("resources of the pod not kept on disk", zap.Error(err))
		}
		w.kept = true
	}
	if err := w.d.Store.SavePod(w.asked); err != nil {
		w.log.Warn("pod not kept on disk", zap.Error(err))
		return
	}
	if w.kept && !other {
		if err := resize.Drop(w.d.Store.PodDir(w.uid)); err != nil {
			w.log.Warn("resources of the pod not removed from disk", zap.Error(err))
			return
		}
		w.kept = false
	}
}

// objectsChanged tries again what waited for a ConfigMap or Secret, and refreshes volumes.
func (w *worker) objectsChanged() {
	now := w.d.now()
	for _, c := range w.containers {
		if c.waiting != nil && c.waiting.Reason == reasonConfig {
			c.retryAt = now
		}
	}
	if w.volumes.Stage == Missing {
		w.volumes.RetryAt = now
		return
	}
	if w.volumes.Stage == Ready {
		w.refresh()
	} else {
		w.refreshAgain = true
	}
}

func (w *worker) terminating() bool {
	return w.pod.DeletionTimestamp != nil || w.removed || w.failure != nil || terminal(w.last.Phase) || terminal(w.pod.Status.Phase)
}

// world is what the plan is made from.
func (w *worker) world() World {
	world := World{
		Sandbox: w.sandboxThing, Volumes: w.volumes,
		Containers:  make(map[string]Container, len(w.containers)),
		Held:        w.allotment == Busy,
		Terminating: w.terminating(),
		Deleted:     w.pod.DeletionTimestamp != nil || w.removed,
		Evicted:     w.evicted() && !w.cleared,
		Resize:      Resize{Wanted: len(w.resize.changes.Steps) > 0, Busy: w.resizeBusy(), RetryAt: w.resize.retryAt},
	}
	world.RestartAll = w.restartAll()
	if w.closing || w.resetting {
		world.Sandbox.Stage = Busy
	}
	if w.last.StartTime != nil {
		world.StartTime = w.last.StartTime.Time
	}
	for _, spec := range w.specs() {
		c := w.container(spec.Name)
		k := Container{RetryAt: c.retryAt, Stopping: c.stopping, PostStart: spec.Lifecycle != nil && spec.Lifecycle.PostStart != nil, Again: c.again, Ephemeral: w.ephemeral(spec.Name)}
		var newest *status.Record
		if len(c.records) > 0 {
			newest = c.records[0]
		}
		switch {
		case c.busy:
			k.Stage = Busy
		case newest == nil:
			k.Stage = Missing
		case newest.State == runtime.ContainerExited:
			k.Stage, k.ExitCode = Ended, int32(newest.ExitCode)
		case newest.State == runtime.ContainerRunning:
			r := w.d.Probes.Result(w.uid, spec.Name, newest.ID)
			k.Stage, k.Started, k.Kill = Ready, r.Started, r.Kill
			if image := newest.Labels[labelImage]; image != "" && image != spec.Image {
				k.Kill = "Container " + spec.Name + " definition changed, will be restarted"
			}
			if k.Kill == "" && slices.Contains(w.resize.changes.Restart, spec.Name) {
				k.Kill = resizeKill(spec.Name)
			}
		default: // its shim has not answered yet: it is left alone, unless it is to end
			k.Stage, k.Stopping = Ready, c.stopping || !world.Terminating
		}
		world.Containers[spec.Name] = k
	}
	return world
}

// versions gives the newest version of the pod and, if that is another, the one that is worked on. The manager's lock
// is held.
func (w *worker) versions() []*corev1.Pod {
	pods := []*corev1.Pod{w.newest}
	if s := w.snapshot.Load(); s != nil && s.Pod != w.newest {
		pods = append(pods, s.Pod)
	}
	return pods
}

func (w *worker) specs() []*corev1.Container { return containersOf(w.pod) }

// containersOf lists all containers of a pod, init containers first.
func containersOf(pod *corev1.Pod) []*corev1.Container {
	out := make([]*corev1.Container, 0, len(pod.Spec.InitContainers)+len(pod.Spec.Containers))
	for i := range pod.Spec.InitContainers {
		out = append(out, &pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		out = append(out, &pod.Spec.Containers[i])
	}
	for i := range pod.Spec.EphemeralContainers {
		c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		out = append(out, &c)
	}
	return out
}

func (w *worker) spec(name string) *corev1.Container {
	for _, c := range w.specs() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func (w *worker) container(name string) *container {
	c := w.containers[name]
	if c == nil {
		c = &container{}
		w.containers[name] = c
	}
	return c
}

// probes hands the running containers to the prober.
func (w *worker) probes() {
	var targets []probe.Target
	for _, spec := range w.specs() {
		c := w.container(spec.Name)
		if c.busy || len(c.records) == 0 || c.records[0].State != runtime.ContainerRunning {
			continue
		}
		t := probe.Target{Container: spec, ContainerID: c.records[0].ID, StartedAt: c.records[0].StartedAt}
		if s := lastStatus(&w.last, spec.Name); s != nil && s.ContainerID == status.IDPrefix+t.ContainerID {
			t.WasReady, t.WasStarted = s.Ready, s.Started != nil && *s.Started
		}
		targets = append(targets, t)
	}
	w.d.Probes.Sync(w.pod, w.podIP(), targets)
}

func lastStatus(s *corev1.PodStatus, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

func (w *worker) podIPs() []string {
	if w.pod.Spec.HostNetwork {
		return w.d.Node.IPs()
	}
	if w.sandbox == nil {
		return nil
	}
	return w.sandbox.IPs
}

func (w *worker) podIP() string {
	if ips := w.podIPs(); len(ips) > 0 {
		return ips[0]
	}
	return ""
}

func (w *worker) event(container, eventType, reason, message string) {
	w.d.Events.Pod(w.pod, w.fieldPath(container), eventType, reason, message)
}

func (w *worker) fieldPath(container string) string { return FieldPath(w.pod, container) }

// FieldPath names a container in an Event's involvedObject.
func FieldPath(pod *corev1.Pod, container string) string {
	if container == "" {
		return ""
	}
	kind := "containers"
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == container {
			kind = "initContainers"
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == container {
			kind = "ephemeralContainers"
		}
	}
	return "spec." + kind + "{" + container + "}"
}
