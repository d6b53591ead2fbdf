package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/downward"
	"kubus.dev/services/agent/internal/launch"
	"kubus.dev/services/agent/internal/resize"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/status"
	"kubus.dev/services/agent/internal/volume"
)

// Reasons of waiting containers.
const (
	reasonConfig      = "CreateContainerConfigError"
	reasonCreate      = "CreateContainerError"
	reasonRun         = "RunContainerError"
	reasonPostStart   = "PostStartHookError"
	reasonPull        = "ErrImagePull"
	reasonPullBackOff = "ImagePullBackOff"
	reasonNeverPull   = "ErrImageNeverPull"
	reasonImageName   = "InvalidImageName"
)

// launchError is a start that failed, as the container's status shows it.
type launchError struct {
	reason  string
	message string
	pull    bool // the image could not be pulled: back off
}

func (e *launchError) Error() string { return e.reason + ": " + e.message }

// configRetry is when a start with an impossible configuration is tried again by itself.
const configRetry = 10 * time.Second

// attempt is one start of one container. It runs beside the worker and owns nothing of it.
type attempt struct {
	d         *workerDeps
	pod       *corev1.Pod
	spec      *corev1.Container
	number    int
	sandbox   *gate[*runtime.Sandbox]
	volumes   *gate[*volume.Mounted]
	old       []string // ids of ended attempts that need not be kept
	target    string   // container whose processes an ephemeral container sees
	fieldPath string
	present   bool                                 // the image need not be pulled
	placed    func(ctx context.Context, id string) // looks whether the CPUs were others by the time that it ran
	log       *zap.Logger
}

// start begins a container, or begins it again.
func (w *worker) start(ctx context.Context, name string) {
	spec := w.spec(name)
	c := w.container(name)
	if spec == nil || c.busy || w.sandboxGate == nil && w.sandboxThing.Stage != Ready {
		return
	}
	a := &attempt{
		d: w.d, pod: w.pod, spec: spec, number: w.nextAttempt(name, c),
		sandbox: w.sandboxGate, volumes: w.volumesGate, fieldPath: w.fieldPath(name), log: w.log,
	}
	if w.d.CPUs != nil {
		a.placed = func(ctx context.Context, id string) {
			if c, ok := w.d.Runtime.ContainerStatus(id); ok && c.State == runtime.ContainerRunning {
				w.m.placeOne(ctx, w.uid, c)
			}
		}
	}
	for i := range w.pod.Spec.EphemeralContainers {
		if e := &w.pod.Spec.EphemeralContainers[i]; e.Name == name && e.TargetContainerName != "" {
			if t := w.container(e.TargetContainerName); len(t.records) > 0 {
				a.target = t.records[0].ID
			}
		}
	}
	if len(c.records) > 1 {
		a.old = append(a.old, c.records[1].ID)
	}
	restart := len(c.records) > 0
	ctx, cancel := context.WithCancel(ctx)
	c.busy, c.cancel, c.retryAt, c.flipAt = true, cancel, time.Time{}, time.Time{}
	w.go1(func() func() {
		err := a.run(ctx)
		cancelled := ctx.Err() != nil
		cancel()
		return func() { w.startOver(spec, c, restart, cancelled, err) }
	})
}

// startOver notes how a start went.
func (w *worker) startOver(spec *corev1.Container, c *container, restart, cancelled bool, err error) {
	now := w.d.now()
	c.busy, c.cancel = false, nil
	var failed *launchError
	switch {
	case err == nil:
		c.waiting, c.pull = nil, Backoff{}
		if restart && !c.again { // a restart that was wanted is no crash
			c.crash = c.crash.Next(now)
		}
		c.again = false
	case cancelled, w.images()[spec.Name] != spec.Image: // the image was changed meanwhile
		c.retryAt = now
	case errors.As(err, &failed) && failed.pull:
		c.pull = c.pull.Next(now)
		c.retryAt = now.Add(c.pull.Delay)
		c.flipAt = now.Add(pullErrorShown)
		c.waiting = &status.Reason{Reason: failed.reason, Message: failed.message}
	case errors.As(err, &failed):
		c.waiting = &status.Reason{Reason: failed.reason, Message: failed.message}
		c.retryAt = now.Add(configRetry)
		if failed.reason == reasonRun || failed.reason == reasonPostStart {
			// There is an ended attempt now; its back-off decides.
			c.retryAt = time.Time{}
			if restart {
				c.crash = c.crash.Next(now)
			}
		}
		text := failed.message
		if failed.reason == reasonNeverPull || failed.reason == reasonImageName {
			text = failed.reason
		}
		w.event(spec.Name, corev1.EventTypeWarning, "Failed", "Error: "+text)
	default: // the sandbox or the volumes failed, and say so themselves
		c.retryAt = now.Add(time.Second)
	}
}

// nextAttempt counts on from what the runtime knows, else from the logs, which
// outlive a lost sandbox and a reboot.
func (w *worker) nextAttempt(name string, c *container) int {
	if len(c.records) > 0 {
		return c.records[0].Attempt + 1
	}
	next := 0
	if s := lastStatus(&w.last, name); s != nil && w.restarting {
		next = int(s.RestartCount) + 1
	}
	entries, err := os.ReadDir(filepath.Join(w.d.Node.podLogDir(w.pod), name))
	if err != nil {
		return next
	}
	for _, e := range entries {
		next = max(next, attemptOf(e.Name())+1)
	}
	return next
}

// attemptOf is the attempt that a log file is of, rotated or not; -1 for other files.
func attemptOf(file string) int {
	number, _, found := strings.Cut(file, ".log")
	if n, err := strconv.Atoi(number); found && err == nil {
		return n
	}
	return -1
}

// pruneLogs removes the logs of all attempts but the last before this one.
func (a *attempt) pruneLogs() {
	dir := filepath.Join(a.d.Node.podLogDir(a.pod), a.spec.Name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if n := attemptOf(e.Name()); n < 0 || n >= a.number-1 {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			a.log.Debug("old log not removed", zap.Error(err))
		}
	}
}

func (a *attempt) event(eventType, reason, message string) {
	a.d.Events.Pod(a.pod, a.fieldPath, eventType, reason, message)
}

// run brings the container up: the image meanwhile the sandbox and the volumes
// are made, then the container itself, then its post-start hook.
func (a *attempt) run(ctx context.Context) error {
	image, err := a.image(ctx)
	if err != nil {
		return err
	}
	if err := a.volumeImages(ctx); err != nil {
		return err
	}
	sandbox, err := a.sandbox.wait(ctx)
	if err != nil {
		return fmt.Errorf("waiting for the sandbox: %w", err)
	}
	mounted, err := a.volumes.wait(ctx)
	if err != nil {
		return fmt.Errorf("waiting for the volumes: %w", err)
	}
	if a.present {
		a.event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", a.spec.Image))
	}
	if err := a.mountImages(mounted); err != nil {
		return &launchError{reason: reasonConfig, message: err.Error()}
	}
	addresses := downward.Addresses{PodIPs: sandbox.IPs, HostIPs: a.d.Node.IPs()}
	if a.pod.Spec.HostNetwork {
		addresses.PodIPs = addresses.HostIPs
	}
	spec, err := a.containerSpec(ctx, image, mounted, addresses)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &launchError{reason: reasonConfig, message: err.Error()}
	}
	for _, id := range a.old {
		if err := a.d.Runtime.RemoveContainer(ctx, id); err != nil {
			a.log.Debug("old container not removed", zap.Error(err))
		}
	}
	a.pruneLogs()
	id, err := a.d.Runtime.CreateContainer(ctx, sandbox.ID, spec)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &launchError{reason: reasonCreate, message: err.Error()}
	}
	a.event(corev1.EventTypeNormal, "Created", "Container created")
	if err := a.d.Runtime.StartContainer(ctx, id); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &launchError{reason: reasonRun, message: err.Error()}
	}
	if a.placed != nil {
		a.placed(ctx, id)
	}
	a.event(corev1.EventTypeNormal, "Started", "Container started")
	if l := a.spec.Lifecycle; l != nil && l.PostStart != nil {
		return a.postStart(ctx, id, l.PostStart, addresses)
	}
	return nil
}

func (a *attempt) postStart(ctx context.Context, id string, hook *corev1.LifecycleHandler, addresses downward.Addresses) error {
	message, err := runHook(ctx, a.d, a.pod, a.spec, id, first(addresses.PodIPs), hook)
	if err == nil {
		return nil
	}
	a.event(corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
	a.event(corev1.EventTypeNormal, "Killing", "FailedPostStartHook")
	if err := a.d.Runtime.StopContainer(context.WithoutCancel(ctx), id, graceOf(a.pod)); err != nil {
		a.log.Warn("container not stopped after its post-start hook failed", zap.Error(err))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &launchError{reason: reasonPostStart, message: message}
}

// containerSpec says what to run; its errors are the user's to mend.
func (a *attempt) containerSpec(ctx context.Context, image *runtime.Image, mounted *volume.Mounted, addresses downward.Addresses) (runtime.ContainerSpec, error) {
	c := a.spec
	env, err := a.d.Environment.Variables(ctx, a.pod, c, addresses, mounted.Paths)
	if err != nil {
		return runtime.ContainerSpec{}, err
	}
	security, err := launch.Security(a.pod, c, image, a.d.Node.SeccompDir)
	if err != nil {
		return runtime.ContainerSpec{}, err
	}
	mounts, err := a.mounts(mounted, env)
	if err != nil {
		return runtime.ContainerSpec{}, err
	}
	if err := a.recursion(ctx, mounts); err != nil {
		return runtime.ContainerSpec{}, err
	}
	devices, err := a.blocks(mounted)
	if err != nil {
		return runtime.ContainerSpec{}, err
	}
	logPath := filepath.Join(a.d.Node.podLogDir(a.pod), c.Name, strconv.Itoa(a.number)+".log")
	if err := os.MkdirAll(filepath.Dir(logPath), 0o755); err != nil {
		return runtime.ContainerSpec{}, fmt.Errorf("create container log directory for container %s failed: %w", c.Name, err)
	}
	spec := runtime.ContainerSpec{
		Name: c.Name, Attempt: a.number, Image: image.ID,
		Command: launch.ExpandAll(c.Command, env), Args: launch.ExpandAll(c.Args, env), Env: env,
		WorkingDir: c.WorkingDir,
		Labels:     map[string]string{labelImage: c.Image, labelResources: setLabel(resize.Effective(a.pod, c))},
		Mounts:     mounts, Devices: devices,
		LogPath: logPath,
		Stdin:   c.Stdin, StdinOnce: c.StdinOnce, TTY: c.TTY,
		Resources: launch.Resources(a.pod, c, a.d.Node.MemoryCapacity), Hugepages: launch.Hugepages(a.pod, c),
		Security:          security,
		TargetContainerID: a.target,
	}
	if a.d.CPUs != nil {
		spec.Resources.CpusetCpus = a.d.CPUs.CPUs(a.pod.UID, c.Name)
	}
	if err := a.devices(ctx, &spec); err != nil {
		return runtime.ContainerSpec{}, err
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		spec.StopSignal = string(*c.Lifecycle.StopSignal)
	}
	return spec, nil
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

func podName(pod *corev1.Pod) string { return launch.PodName(pod) }
