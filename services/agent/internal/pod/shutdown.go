package pod

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/shutdown"
	"kubus.dev/services/agent/internal/status"
)

// What pods say that end, or cannot begin, because their node shuts down. Source: pkg/kubelet/nodeshutdown.
const (
	reasonTerminated  = "Terminated"
	messageTerminated = "Pod was terminated in response to imminent node shutdown."
	reasonShutdown    = "NodeShutdown"
	messageShutdown   = "Pod was rejected as the node is shutting down."
)

// ShuttingDown says whether the node shuts down: no pod begins on it meanwhile.
func (m *Manager) ShuttingDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

// ShutDown ends all pods that have not ended, group by group, each within its group's bound. It returns when nothing of them is
// left, when all bounds have passed, or ctx ends.
func (m *Manager) ShutDown(ctx context.Context, periods []shutdown.Period) {
	for _, g := range shutdown.Groups(m.Unfinished(), periods) {
		limit, cancel := context.WithTimeout(ctx, g.Bound+leastGrace)
		var ending []<-chan struct{}
		for _, p := range g.Pods {
			ending = append(ending, m.terminate(p, g.Bound))
		}
		for _, gone := range ending {
			select {
			case <-gone:
			case <-limit.Done():
			}
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
	}
}

func (m *Manager) terminate(pod *corev1.Pod, grace time.Duration) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.workers[pod.UID]
	if w == nil {
		none := make(chan struct{})
		close(none)
		return none
	}
	w.post(func() {
		w.endFor(status.Failure{Reason: reasonTerminated, Message: messageTerminated, Evicted: true}, grace)
	})
	return w.free
}
