package probe

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Kind is one of the three probes of a container.
type Kind int

// The probes, in the order in which they matter.
const (
	Startup Kind = iota
	Liveness
	Readiness
	kinds
)

func (k Kind) String() string { return [...]string{"Startup", "Liveness", "Readiness"}[k] }

// Target is a running container.
type Target struct {
	Container   *corev1.Container
	ContainerID string
	StartedAt   time.Time
	// WasStarted and WasReady are what was last said of this same container, for
	// one that ran before we did; it keeps them until a probe says otherwise.
	WasStarted, WasReady bool
}

// Result is what the probes say of one container.
type Result struct {
	Started bool // no startup probe, or it succeeded
	Ready   bool // no readiness probe, or it succeeded last
	// Kill is set when the startup or liveness probe has failed for good:
	// kubelet's sentence for the Killing Event.
	Kill string
}

// Events is told of failed probes and of warnings.
type Events func(pod *corev1.Pod, container *corev1.Container, reason, message string)

// Manager owns all probes of the node.
type Manager struct {
	runner  *Runner
	events  Events
	changed func(types.UID)
	now     func() time.Time
	metrics metrics

	mu    sync.Mutex
	pods  map[types.UID]map[string]*set // by container name
	queue queue
	wake  chan struct{}
}

// set is the probes of one container.
type set struct {
	pod    *corev1.Pod
	podIP  string
	target Target
	probes [kinds]*worker
	gone   bool
}

type worker struct {
	set     *set
	kind    Kind
	spec    *corev1.Probe
	due     time.Time
	index   int // in the queue; -1 when not in it
	success bool
	decided bool // a threshold was reached at least once
	last    bool
	run     int32         // how often in a row last came
	hold    bool          // decided for this container, no more probing
	eager   time.Duration // the next early attempt comes after it; 0: by the period
	begun   time.Time     // when the first attempt was due
}

// New makes a manager without probes; Run runs them.
func New(runner *Runner, events Events, changed func(types.UID)) *Manager {
	return &Manager{
		runner: runner, events: events, changed: changed, now: time.Now, metrics: newMetrics(),
		pods: map[types.UID]map[string]*set{}, wake: make(chan struct{}, 1),
	}
}

// Sync replaces the pod's running containers. Probes of containers that are the
// same go on undisturbed.
func (m *Manager) Sync(pod *corev1.Pod, podIP string, targets []Target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.pods[pod.UID]
	fresh := make(map[string]*set, len(targets))
	for _, t := range targets {
		if t.Container.StartupProbe == nil && t.Container.LivenessProbe == nil && t.Container.ReadinessProbe == nil {
			continue
		}
		name := t.Container.Name
		if s := old[name]; s != nil && s.target.ContainerID == t.ContainerID {
			s.pod, s.podIP = pod, podIP
			fresh[name] = s
			delete(old, name)
			continue
		}
		fresh[name] = m.begin(pod, podIP, t)
	}
	for _, s := range old {
		m.end(s)
	}
	if len(fresh) == 0 {
		delete(m.pods, pod.UID)
		return
	}
	m.pods[pod.UID] = fresh
}

// Remove ends the pod's probes.
func (m *Manager) Remove(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.pods[uid] {
		m.end(s)
	}
	delete(m.pods, uid)
}

// Result is what is known of a container; without probes it is started and ready.
func (m *Manager) Result(uid types.UID, container, id string) Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := Result{Started: true, Ready: true}
	s := m.pods[uid][container]
	if s == nil || s.target.ContainerID != id {
		return r
	}
	for kind, w := range s.probes {
		if w == nil {
			continue
		}
		switch Kind(kind) {
		case Startup:
			r.Started = w.success
			if w.decided && !w.success {
				r.Kill = fmt.Sprintf("Container %s failed startup probe, will be restarted", container)
			}
		case Liveness:
			if w.decided && !w.success {
				r.Kill = fmt.Sprintf("Container %s failed liveness probe, will be restarted", container)
			}
		case Readiness:
			r.Ready = w.success
		}
	}
	r.Ready = r.Ready && r.Started
	return r
}

func (m *Manager) begin(pod *corev1.Pod, podIP string, t Target) *set {
	s := &set{pod: pod, podIP: podIP, target: t}
	for kind, spec := range [...]*corev1.Probe{t.Container.StartupProbe, t.Container.LivenessProbe, t.Container.ReadinessProbe} {
		if spec == nil {
			continue
		}
		w := &worker{set: s, kind: Kind(kind), spec: spec, index: -1}
		switch w.kind {
		case Startup:
			w.success = t.WasStarted
			w.hold = t.WasStarted
		case Liveness:
			w.success = true
		case Readiness:
			w.success = t.WasReady
		}
		s.probes[kind] = w
		if kind == int(Startup) && w.hold {
			continue
		}
		if w.kind != Startup && s.probes[Startup] != nil && !s.probes[Startup].success {
			continue // begins when the container has started
		}
		m.first(w)
	}
	return s
}

// Early attempts: a container is asked again after 10 ms, then 20, 40 and so on
// until its first period is over, so that it is ready when it is, not up to a
// period later. Early failures count for nothing and are not told. Commands are
// run by the period only: they cost too much.
const firstEager = 10 * time.Millisecond

// first schedules the first attempt. A liveness probe has nothing to find out at
// once: its first attempt comes after half a period.
func (m *Manager) first(w *worker) {
	due := w.set.target.StartedAt.Add(time.Duration(w.spec.InitialDelaySeconds) * time.Second)
	if w.kind == Liveness {
		due = due.Add(period(w.spec) / 2)
	}
	if now := m.now(); due.Before(now) {
		due = now
	}
	w.begun, w.eager = due, 0
	if w.kind != Liveness && w.spec.Exec == nil && !w.success {
		w.eager = firstEager
	}
	m.schedule(w, due)
}

func period(p *corev1.Probe) time.Duration {
	return time.Duration(max(p.PeriodSeconds, 1)) * time.Second
}

func (m *Manager) end(s *set) {
	s.gone = true
	for _, w := range s.probes {
		if w == nil {
			continue
		}
		if w.index >= 0 {
			heap.Remove(&m.queue, w.index)
		}
		m.metrics.forget(w.kind, s.pod, s.target.Container.Name)
	}
}

func (m *Manager) schedule(w *worker, due time.Time) {
	w.due = due
	heap.Push(&m.queue, w)
	if w.index == 0 {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// Run runs the probes until ctx ends, then waits for those under way.
func (m *Manager) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		m.mu.Lock()
		next := time.Hour
		for m.queue.Len() > 0 {
			if next = m.queue[0].due.Sub(m.now()); next > 0 {
				break
			}
			w := heap.Pop(&m.queue).(*worker)
			pod, ip, target := w.set.pod, w.set.podIP, w.set.target
			running.Add(1)
			go func() {
				defer running.Done()
				m.probe(ctx, w, pod, ip, target)
			}()
			next = time.Hour
		}
		m.mu.Unlock()
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		case <-timer.C:
		}
	}
}

// Reasons of the events of probes.
const (
	reasonUnhealthy = "Unhealthy"
	reasonWarning   = "ProbeWarning"
)

const retries = 3 // of a probe that could not be asked at all

func (m *Manager) probe(ctx context.Context, w *worker, pod *corev1.Pod, podIP string, t Target) {
	began := m.now()
	var o Outcome
	for range retries {
		if o = m.runner.Run(ctx, w.spec, t.Container, t.ContainerID, podIP); o.Err == nil {
			break
		}
	}
	if ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	if w.set.gone {
		m.mu.Unlock()
		return
	}
	if w.eager > 0 && !o.OK {
		if due := m.now().Add(w.eager); due.Before(w.begun.Add(period(w.spec))) {
			w.eager *= 2
			m.schedule(w, due)
			m.mu.Unlock()
			return
		}
	}
	w.eager = 0
	m.metrics.count(w.kind, pod, t.Container.Name, o, m.now().Sub(began))
	changed := false
	if o.Err == nil {
		changed = m.count(w, o.OK)
	}
	if !w.hold {
		due := began.Add(period(w.spec))
		if now := m.now(); due.Before(now) {
			due = now
		}
		m.schedule(w, due)
	}
	m.mu.Unlock()
	switch {
	case o.Err != nil:
		m.events(pod, t.Container, reasonUnhealthy, fmt.Sprintf("%s probe errored and resulted in unknown state: %v", w.kind, o.Err))
	case o.Warning:
		m.events(pod, t.Container, reasonWarning, fmt.Sprintf("%s probe warning: %s", w.kind, o.Message))
	case !o.OK:
		m.events(pod, t.Container, reasonUnhealthy, fmt.Sprintf("%s probe failed: %s", w.kind, o.Message))
	}
	if changed {
		m.changed(pod.UID)
	}
}

// count notes one outcome and tells whether the result changed.
func (m *Manager) count(w *worker, ok bool) bool {
	if w.run > 0 && w.last == ok {
		w.run++
	} else {
		w.last, w.run = ok, 1
	}
	threshold := max(w.spec.SuccessThreshold, 1)
	if !ok {
		threshold = max(w.spec.FailureThreshold, 1)
	}
	if w.run < threshold {
		return false
	}
	changed := !w.decided && w.kind != Liveness || w.success != ok
	w.decided, w.success = true, ok
	if w.kind == Startup || w.kind == Liveness && !ok {
		w.hold = true
	}
	if w.kind == Startup && ok {
		m.startOthers(w.set)
	}
	return changed
}

// startOthers begins the probes that waited for the container to have started.
func (m *Manager) startOthers(s *set) {
	for kind, w := range s.probes {
		if w == nil || Kind(kind) == Startup || w.index >= 0 {
			continue
		}
		m.first(w)
	}
}

// queue is a heap by due time.
type queue []*worker

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *queue) Push(x any) {
	w := x.(*worker)
	w.index = len(*q)
	*q = append(*q, w)
}
func (q *queue) Pop() any {
	old := *q
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	w.index = -1
	return w
}
