package eviction

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Times, as kubelet's.
const (
	every     = 10 * time.Second // between two looks
	awaitFree = 30 * time.Second // what an evicted pod had
	immediate = time.Second      // what the containers of a pod get that must end now
	// idle is how many times as long as it took to measure what pods have on the disk they are not measured again.
	idle = 20
)

// Pods are those of the node (pod.Manager).
type Pods interface {
	// Active gives the pods of which something runs.
	Active() []*corev1.Pod
	// Evict ends a pod; the channel is closed when nothing of it is left but its status.
	Evict(uid types.UID, why Cause) <-chan struct{}
}

// Cause is why a pod ends.
type Cause struct {
	Message string
	Grace   time.Duration // what its containers get at most
	// Own: it broke a limit of its own; else the node is short of something, and the pod is disrupted.
	Own bool
}

// Events says something about the node.
type Events interface {
	Node(eventType, reason, message string)
}

// Manager looks at the node and ends pods. The fields are set before Run.
type Manager struct {
	Thresholds []Threshold
	Transition time.Duration // how long a condition stays after the last shortage
	MaxGrace   int64         // seconds that pods get at most when a soft threshold ends them

	Look func() Observations
	// Usage measures what pods take of a resource; of the disk, all that they have there, which takes a while.
	Usage func(ctx context.Context, pods []*corev1.Pod, of corev1.ResourceName) map[types.UID]*Usage
	Pods  Pods
	// FreeImages removes images that nobody uses.
	FreeImages func(context.Context) error
	// Tell is told the node's conditions when they change.
	Tell   func([]corev1.NodeConditionType)
	Events Events
	Log    *zap.Logger

	state    State     // of the one who calls Observe or Run
	measured time.Time // when pods with limits of their own may be measured again; of Run

	mu         sync.Mutex
	conditions []corev1.NodeConditionType
}

// Conditions are those that are true now; sorted, not to be changed.
func (m *Manager) Conditions() []corev1.NodeConditionType {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.conditions
}

// Observe looks once and ends nothing; not while Run runs.
func (m *Manager) Observe(now time.Time) { m.observe(now) }

// Run looks until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	for {
		if m.act(ctx, time.Now()) {
			continue // a pod ended: look again at once
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

func (m *Manager) observe(now time.Time) (Observations, []Threshold) {
	seen := m.Look()
	state, finding := m.state.Next(m.Thresholds, seen, m.Transition, now)
	m.state = state
	m.mu.Lock()
	same := slices.Equal(m.conditions, finding.Conditions)
	m.conditions = finding.Conditions
	m.mu.Unlock()
	if !same {
		m.Tell(finding.Conditions)
	}
	return seen, finding.Due
}

// act looks, and ends a pod if it must; it tells whether one ended.
func (m *Manager) act(ctx context.Context, now time.Time) bool {
	seen, due := m.observe(now)
	m.endThoseAboveTheirLimits(ctx, now)
	if len(due) == 0 || ctx.Err() != nil {
		return false
	}
	t := &due[0]
	short := t.Resource()
	m.Events.Node(corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim "+string(short))
	if t.onDisk() {
		if err := m.FreeImages(ctx); err != nil {
			m.Log.Warn("unused images not removed", zap.Error(err))
		}
		if Relieved(m.Thresholds, m.Look()) {
			return false
		}
	}
	pods := m.Pods.Active()
	usage := m.Usage(ctx, pods, short)
	of := func(p *corev1.Pod) *Usage { return usage[p.UID] }
	for _, pod := range Rank(pods, short, of) {
		if Critical(pod) {
			continue
		}
		m.end(ctx, pod, Cause{Message: Message(t, seen, pod, of(pod)), Grace: time.Duration(Grace(t, pod, m.MaxGrace)) * time.Second})
		return ctx.Err() == nil
	}
	m.Log.Warn("the node is short of something and no pod can be evicted", zap.String("resource", string(short)))
	return false
}

// endThoseAboveTheirLimits evicts the pods that have more on the disk than their own limits allow, all at once:
// what one of them has is no matter of another's.
func (m *Manager) endThoseAboveTheirLimits(ctx context.Context, now time.Time) {
	if now.Before(m.measured) {
		return
	}
	limited := slices.DeleteFunc(m.Pods.Active(), func(p *corev1.Pod) bool { return Critical(p) || !Limited(p) })
	if len(limited) == 0 {
		return
	}
	began := time.Now()
	usage := m.Usage(ctx, limited, corev1.ResourceEphemeralStorage)
	m.measured = now.Add(idle * time.Since(began))
	for _, pod := range limited {
		if message := Exceeded(pod, usage[pod.UID]); message != "" && ctx.Err() == nil {
			m.log(pod, message)
			m.Pods.Evict(pod.UID, Cause{Message: message, Grace: immediate, Own: true})
		}
	}
}

func (m *Manager) log(pod *corev1.Pod, message string) {
	m.Log.Info("evicting a pod", zap.String("namespace", pod.Namespace), zap.String("pod", pod.Name), zap.String("reason", message))
}

// end evicts a pod and waits until what it had is free.
func (m *Manager) end(ctx context.Context, pod *corev1.Pod, why Cause) {
	m.log(pod, why.Message)
	free := m.Pods.Evict(pod.UID, why)
	timeout := time.NewTimer(awaitFree)
	defer timeout.Stop()
	select {
	case <-free:
	case <-timeout.C:
		m.Log.Warn("what an evicted pod had is not free yet", zap.String("namespace", pod.Namespace), zap.String("pod", pod.Name))
	case <-ctx.Done():
	}
}
