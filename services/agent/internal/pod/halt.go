package pod

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/probe"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/shutdown"
	"kubus.dev/services/agent/internal/status"
)

// Halt ends what runs of a stopped agent's pods, as their specs say: pre-stop hooks, then the stop signal, then, when the
// grace period is over, the kill; sidecars after the others. Groups end one after the other. Nobody is told, and the
// pods' statuses stay as they are: they start again with the next agent.
type Halt struct {
	Runtime runtime.Runtime
	Runner  *probe.Runner // of hooks by HTTP
	NodeIP  string        // of pods on the node's network
	Log     *zap.Logger
}

// Groups returns when all containers have ended or were killed, or ctx has ended.
func (h *Halt) Groups(ctx context.Context, groups []shutdown.Group) {
	for _, g := range groups {
		var pods sync.WaitGroup
		for _, p := range g.Pods {
			pods.Go(func() { h.pod(ctx, p, g.Bound) })
		}
		pods.Wait()
	}
}

// pod ends one pod within bound.
func (h *Halt) pod(ctx context.Context, pod *corev1.Pod, bound time.Duration) {
	running := map[string]string{} // ids by name
	ip := h.NodeIP
	for _, sb := range h.Runtime.Sandboxes() {
		if sb.PodUID != string(pod.UID) {
			continue
		}
		if len(sb.IPs) > 0 {
			ip = sb.IPs[0]
		}
		for _, c := range h.Runtime.Containers(sb.ID) {
			if c.State == runtime.ContainerRunning || c.State == runtime.ContainerUnknown {
				running[c.Name] = c.ID
			}
		}
	}
	end := time.Now().Add(min(graceOf(pod), bound))
	var sidecars []*corev1.Container
	var others sync.WaitGroup
	for _, c := range containersOf(pod) {
		switch id := running[c.Name]; {
		case id == "":
		case slices.ContainsFunc(pod.Spec.InitContainers, func(i corev1.Container) bool { return i.Name == c.Name && status.Sidecar(&i) }):
			sidecars = append(sidecars, c)
		default:
			others.Go(func() { h.container(ctx, pod, c, id, ip, time.Until(end)) })
		}
	}
	others.Wait()
	for _, c := range slices.Backward(sidecars) {
		h.container(ctx, pod, c, running[c.Name], ip, time.Until(end))
	}
}

func (h *Halt) container(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id, ip string, grace time.Duration) {
	began := time.Now()
	hook := c.Lifecycle != nil && c.Lifecycle.PreStop != nil && grace > 0
	if hook {
		d := &workerDeps{Deps{Runtime: h.Runtime, Runner: h.Runner, Events: untold{}}, time.Now}
		preStop(ctx, d, pod, c, id, ip, "", grace, h.Log)
	}
	if err := h.Runtime.StopContainer(ctx, id, killAfter(grace, time.Since(began), hook, false)); err != nil {
		h.Log.Warn("container not stopped", zap.String("namespace", pod.Namespace), zap.String("pod", pod.Name), zap.String("container", c.Name), zap.Error(err))
	}
}

// untold tells nobody.
type untold struct{}

func (untold) Pod(*corev1.Pod, string, string, string, string) {}
