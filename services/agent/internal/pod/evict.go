package pod

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/eviction"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/status"
)

// Active gives the pods of which something runs, in no order, with what they are granted.
func (m *Manager) Active() []*corev1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*corev1.Pod
	for _, w := range m.workers {
		if s := w.snapshot.Load(); s != nil && !w.over() && s.alive() {
			out = append(out, s.Pod)
		}
	}
	return out
}

// alive tells whether a container of the pod runs.
func (s *Snapshot) alive() bool {
	for _, records := range s.Records {
		if len(records) > 0 && records[0].State != runtime.ContainerExited {
			return true
		}
	}
	return false
}

// Evict ends a pod for the node's sake and leaves nothing of it on the node but its status. Its
// containers get the cause's grace at most. The channel is closed when all of it is free; of a pod that is
// not here, at once.
func (m *Manager) Evict(uid types.UID, why eviction.Cause) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.workers[uid]
	if w == nil {
		none := make(chan struct{})
		close(none)
		return none
	}
	failure := status.Failure{Reason: eviction.Reason, Message: why.Message, Evicted: true, Own: why.Own}
	w.post(func() { w.endFor(failure, why.Grace) })
	return w.free
}

// endFor ends the pod for the node's sake.
func (w *worker) endFor(failure status.Failure, grace time.Duration) {
	if w.failure != nil || w.removed || terminal(w.last.Phase) {
		return // it has ended, or ends for another reason
	}
	w.failure, w.hurry = &failure, &grace
	w.event("", corev1.EventTypeWarning, failure.Reason, failure.Message)
	for _, c := range w.containers {
		if c.stopping && c.stop != nil {
			c.stop() // the plan stops it again, with the shorter grace
		}
	}
}

// evicted tells whether the pod was, by this run of the agent or one before.
func (w *worker) evicted() bool {
	if w.failure != nil {
		return w.failure.Evicted
	}
	return w.last.Phase == corev1.PodFailed && (w.last.Reason == eviction.Reason || w.last.Reason == reasonTerminated)
}

// clear takes what an evicted pod had off the node.
func (w *worker) clear(ctx context.Context) {
	w.wipe(ctx, func(err error) {
		w.closing = false
		if err != nil {
			w.log.Warn("what an evicted pod had is not removed, trying again", zap.Error(err))
			w.closeRetryAt = w.d.now().Add(stopRetry)
			return
		}
		w.sandbox, w.sandboxThing, w.volumes, w.renewAt = nil, Thing{Stage: Missing}, Thing{Stage: Missing}, time.Time{}
		w.isFree()
	})
}

// isFree says that nothing is left of the pod but its object.
func (w *worker) isFree() {
	if !w.cleared {
		w.cleared = true
		close(w.free)
	}
}
