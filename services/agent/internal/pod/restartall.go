package pod

import (
	"context"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/status"
)

// A container whose rule says RestartAllContainers makes its pod begin anew, in its sandbox and with its volumes: what
// runs is killed, all containers are removed, those that asked for it last, and init containers run again. An agent
// that ends meanwhile finds such a container still there, or the condition in the status that it has kept.

// restartAll tells whether a container has ended that wants all to start anew.
func (w *worker) restartAll() bool {
	return !w.terminating() && slices.ContainsFunc(w.specs(), func(spec *corev1.Container) bool { return w.asksForAll(spec) })
}

func (w *worker) asksForAll(spec *corev1.Container) bool {
	c := w.container(spec.Name)
	return !c.busy && len(c.records) > 0 && c.records[0].State == runtime.ContainerExited && status.RestartsAll(spec, int32(c.records[0].ExitCode))
}

// regularMade tells whether a regular container has been made, so that the pod has begun.
func (w *worker) regularMade() bool {
	return slices.ContainsFunc(w.pod.Spec.Containers, func(spec corev1.Container) bool {
		c := w.container(spec.Name)
		return !c.busy && len(c.records) > 0
	})
}

func (w *worker) ephemeral(name string) bool {
	return slices.ContainsFunc(w.pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name })
}

// reset removes all containers, so that they are made anew. Who asks for it again and again waits longer each time.
func (w *worker) reset(ctx context.Context) {
	w.resetting = true
	var first, last []string // ids
	now := w.d.now()
	for _, spec := range w.specs() {
		c := w.container(spec.Name)
		if w.ephemeral(spec.Name) {
			continue
		}
		ids := &first
		if w.asksForAll(spec) {
			ids = &last
			c.retryAt = c.crash.After(c.records[0].FinishedAt)
			c.crash = c.crash.Next(now)
		} else {
			c.retryAt = now
		}
		for _, r := range c.records {
			*ids = append(*ids, r.ID)
		}
	}
	w.go1(func() func() {
		var err error
		for _, id := range slices.Concat(first, last) {
			if err = w.d.Runtime.RemoveContainer(ctx, id); err != nil {
				break
			}
		}
		return func() {
			if err == nil {
				w.resetting = false
				return
			}
			w.log.Warn("containers that start anew not removed, trying again", zap.Error(err))
			w.after(stopRetry, func() { w.resetting = false })
		}
	})
}
