package pod

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/runtime"
)

// leastGrace is what a container gets even when hooks have used up its time, or it was given none.
const leastGrace = 2 * time.Second

// killAfter is how long a container that is told to end has until it is killed: its grace, less what its pre-stop hook
// took of it.
func killAfter(grace, hookTook time.Duration, hooked, atOnce bool) time.Duration {
	switch {
	case atOnce:
		return 0
	case hooked:
		return max(grace-hookTook, leastGrace)
	case grace <= 0:
		return leastGrace
	}
	return grace
}

// graceOf is how long the pod's containers have to end.
func graceOf(pod *corev1.Pod) time.Duration {
	seconds := int64(30)
	switch {
	case pod.DeletionGracePeriodSeconds != nil:
		seconds = *pod.DeletionGracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		seconds = *pod.Spec.TerminationGracePeriodSeconds
	}
	return time.Duration(max(seconds, 0)) * time.Second
}

// graceFor is graceOf, or what a failed probe demands instead.
func graceFor(pod *corev1.Pod, spec *corev1.Container, probe bool) time.Duration {
	if probe && pod.DeletionTimestamp == nil {
		for _, p := range []*corev1.Probe{spec.LivenessProbe, spec.StartupProbe} {
			if p != nil && p.TerminationGracePeriodSeconds != nil {
				return time.Duration(*p.TerminationGracePeriodSeconds) * time.Second
			}
		}
	}
	return graceOf(pod)
}

// stop ends a running container: its pre-stop hook, its stop signal, then the kill.
func (w *worker) stop(ctx context.Context, s Stop) {
	spec, c := w.spec(s.Name), w.container(s.Name)
	if spec == nil || c.stopping || len(c.records) == 0 {
		return
	}
	id := c.records[0].ID
	again := s.Reason == resizeKill(s.Name)
	c.again = c.again || again
	grace := graceFor(w.pod, spec, s.Reason != "" && !again)
	if s.Reason == RestartAllReason {
		grace = 0
	}
	if w.hurry != nil {
		grace = min(grace, *w.hurry)
	}
	message := s.Reason
	if message == "" {
		message = "Stopping container " + s.Name
	}
	if c.stopID != id {
		w.event(s.Name, corev1.EventTypeNormal, "Killing", message)
	}
	hook := spec.Lifecycle != nil && spec.Lifecycle.PreStop != nil && !c.preStop && grace > 0
	ctx, cancel := context.WithCancel(ctx)
	c.stopping, c.stop, c.stopID, c.preStop = true, cancel, id, true
	pod, ip, path, d := w.pod, w.podIP(), w.fieldPath(s.Name), w.d
	w.go1(func() func() {
		defer cancel()
		began := d.now()
		if hook {
			preStop(ctx, d, pod, spec, id, ip, path, grace, w.log)
		}
		left := killAfter(grace, d.now().Sub(began), hook, s.Reason == RestartAllReason)
		var err error
		if ctx.Err() == nil {
			err = d.Runtime.StopContainer(ctx, id, left)
		}
		cut := ctx.Err() != nil
		return func() { w.stopOver(s.Name, c, cut, err) }
	})
}

func (w *worker) stopOver(name string, c *container, cut bool, err error) {
	c.stop = nil
	if err == nil || cut {
		c.stopping = false
		return
	}
	w.log.Warn("container not stopped, trying again", zap.String("container", name), zap.Error(err))
	w.event(name, corev1.EventTypeWarning, "FailedKillPod", "error killing pod: "+err.Error())
	w.after(stopRetry, func() { c.stopping = false })
}

// after runs f on the worker when the time has passed, or the manager ends.
func (w *worker) after(d time.Duration, f func()) {
	w.ops.Add(1)
	go func() {
		defer w.ops.Done()
		select {
		case <-w.m.ctx.Done():
		case <-time.After(d):
		}
		w.post(f)
	}()
}

func preStop(ctx context.Context, d *workerDeps, pod *corev1.Pod, spec *corev1.Container, id, ip, path string, grace time.Duration, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	message, err := runHook(ctx, d, pod, spec, id, ip, spec.Lifecycle.PreStop)
	if err == nil || ctx.Err() != nil {
		return
	}
	log.Info("pre-stop hook failed", zap.String("container", spec.Name), zap.String("message", message))
	d.Events.Pod(pod, path, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
}

// runHook runs a lifecycle hook; the message is for the container's status.
func runHook(ctx context.Context, d *workerDeps, pod *corev1.Pod, spec *corev1.Container, id, ip string, h *corev1.LifecycleHandler) (message string, err error) {
	where := fmt.Sprintf("for Container %q in Pod %q failed", spec.Name, podName(pod))
	switch {
	case h.Exec != nil:
		var out hookOutput
		code, err := d.Runtime.Exec(ctx, id, runtime.ExecOptions{Command: h.Exec.Command, Stdout: &out, Stderr: &out})
		if err == nil && code != 0 {
			err = fmt.Errorf("command '%s' exited with %d: %s", strings.Join(h.Exec.Command, " "), code, out.String())
		}
		if err != nil {
			return fmt.Sprintf("Exec lifecycle hook (%v) %s - error: %v, message: %q", h.Exec.Command, where, err, out.String()), err
		}
		return "", nil
	case h.HTTPGet != nil:
		if err := d.Runner.Get(ctx, h.HTTPGet, spec, ip); err != nil {
			return fmt.Sprintf("HTTP lifecycle hook (%s) %s - error: %v", h.HTTPGet.Path, where, err), err
		}
		return "", nil
	case h.Sleep != nil:
		select {
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
			return "", nil
		case <-ctx.Done():
			err := fmt.Errorf("container terminated before sleep hook finished")
			return fmt.Sprintf("Sleep lifecycle hook (%d) %s - error: %v", h.Sleep.Seconds, where, err), err
		}
	}
	err = fmt.Errorf("invalid handler: %v", h)
	return fmt.Sprintf("Cannot run handler: %v", err), err
}

const maxHookOutput = 8 << 10

type hookOutput struct{ bytes.Buffer }

func (o *hookOutput) Write(p []byte) (int, error) {
	if room := maxHookOutput - o.Len(); room > 0 {
		o.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
