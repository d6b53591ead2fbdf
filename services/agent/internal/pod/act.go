package pod

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/downward"
	"kubus.dev/services/agent/internal/launch"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/tree"
	"kubus.dev/services/agent/internal/volume"
)

// act begins what the plan asks for. Nothing here waits.
func (w *worker) act(ctx context.Context, p Plan) {
	if p.MakeVolumes {
		w.makeVolumes(ctx)
	}
	if p.MakeSandbox {
		w.makeSandbox(ctx)
	}
	if p.CancelStarts {
		if w.volumesCancel != nil {
			w.volumesCancel()
		}
		for _, c := range w.containers {
			if c.cancel != nil {
				c.cancel()
			}
		}
	}
	if p.Resize {
		w.resizeNow(ctx)
	}
	if p.Reset {
		w.reset(ctx)
	}
	for _, name := range p.Start {
		w.start(ctx, name)
	}
	for _, s := range p.Stop {
		w.stop(ctx, s)
	}
	switch {
	case w.closing || w.d.now().Before(w.closeRetryAt):
	case p.RemoveSandbox:
		w.event("", corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
		w.close(ctx, func(ctx context.Context, id string) error { return w.d.Runtime.RemoveSandbox(ctx, id) }, true)
	case p.Remove:
		w.remove(ctx)
	case p.Free:
		w.clear(ctx)
	case p.StopSandbox:
		w.close(ctx, func(ctx context.Context, id string) error { return w.d.Runtime.StopSandbox(ctx, id) }, false)
	}
}

// go1 runs f beside the worker; what it returns, if anything, runs on the worker.
func (w *worker) go1(f func() func()) {
	w.ops.Add(1)
	go func() {
		defer w.ops.Done()
		w.post(f())
	}()
}

func (w *worker) makeVolumes(ctx context.Context) {
	gate := newGate[*volume.Mounted]()
	ctx, cancel := context.WithCancel(ctx)
	w.volumes.Stage, w.volumesGate, w.volumesCancel = Busy, gate, cancel
	pod, addresses := w.pod, w.addresses()
	w.go1(func() func() {
		mounted, err := w.d.Volumes.SetUp(ctx, pod, addresses)
		gate.open(mounted, err)
		cut := ctx.Err() != nil
		cancel()
		return func() {
			w.volumesCancel = nil
			if err != nil {
				w.volumes = Thing{Stage: Missing, RetryAt: w.d.now().Add(retryOf(err))}
				if !cut {
					w.event("", corev1.EventTypeWarning, mountReason(err), err.Error())
				}
				return
			}
			w.volumes, w.renewAt = Thing{Stage: Ready}, mounted.RenewAt
			if w.refreshAgain {
				w.refreshAgain = false
				w.refresh()
			}
		}
	})
}

// Delays of what is tried again without a known reason to hope.
const (
	volumeRetry  = 10 * time.Second
	claimRetry   = time.Second // a claim is about to be bound
	sandboxRetry = time.Second
	stopRetry    = 5 * time.Second
)

// retryOf says when volumes are tried again: nobody tells the node that a claim is bound.
func retryOf(err error) time.Duration {
	if errors.Is(err, volume.ErrNotBound) {
		return claimRetry
	}
	return volumeRetry
}

// mountReason is that of the Event about volumes that are not in place.
func mountReason(err error) string {
	var device *volume.BlockError
	if errors.As(err, &device) {
		return "FailedMapVolume"
	}
	return "FailedMount"
}

// refresh brings the content of mounted volumes up to date.
func (w *worker) refresh() {
	if w.refreshing {
		w.refreshAgain = true
		return
	}
	w.refreshing = true
	w.renewAt = time.Time{}
	pod, addresses := w.pod, w.addresses()
	w.go1(func() func() {
		ctx, cancel := context.WithTimeout(w.m.ctx, time.Minute)
		defer cancel()
		mounted, err := w.d.Volumes.SetUp(ctx, pod, addresses)
		return func() {
			w.refreshing = false
			if err != nil {
				// The containers keep what they have; the next change tries again.
				w.log.Info("volumes not refreshed", zap.Error(err))
				w.renewAt = w.d.now().Add(time.Minute)
			} else {
				w.renewAt = mounted.RenewAt
			}
			if w.refreshAgain {
				w.refreshAgain = false
				w.refresh()
			}
		}
	})
}

func (w *worker) addresses() downward.Addresses {
	return downward.Addresses{PodIPs: w.podIPs(), HostIPs: w.d.Node.IPs()}
}

func (w *worker) makeSandbox(ctx context.Context) {
	gate := newGate[*runtime.Sandbox]()
	w.sandboxThing.Stage, w.sandboxGate, w.resize.sandbox = Busy, gate, w.alloc
	spec, warnings, err := w.sandboxSpec()
	for _, text := range warnings {
		w.event("", corev1.EventTypeWarning, "DNSConfigForming", text)
	}
	pod := w.pod
	w.go1(func() func() {
		var sb *runtime.Sandbox
		if err == nil {
			spec.RuntimeHandler, err = handlerOf(ctx, w.d, pod)
		}
		if err == nil {
			sb, err = w.d.Runtime.RunSandbox(ctx, spec)
		}
		if err == nil {
			if err = w.podFiles(pod, spec, sb); err != nil {
				err = errors.Join(err, w.d.Runtime.RemoveSandbox(context.WithoutCancel(ctx), sb.ID))
			}
		}
		w.post(func() { w.sandboxMade(ctx, sb, err) }) // before a start that waits for it is over
		gate.open(sb, err)
		return nil
	})
}

func handlerOf(ctx context.Context, d *workerDeps, pod *corev1.Pod) (string, error) {
	if d.Classes == nil {
		return "", nil
	}
	return d.Classes.Handler(ctx, pod)
}

func (w *worker) sandboxMade(ctx context.Context, sb *runtime.Sandbox, err error) {
	if err == nil {
		w.sandbox, w.sandboxThing, w.sandboxTries = sb, Thing{Stage: Ready}, Backoff{}
		return
	}
	w.sandboxThing = Thing{Stage: Missing}
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, runtime.ErrNoNetwork) {
		w.sandboxThing.RetryAt = w.d.now().Add(time.Minute) // Kick comes before
		w.event("", corev1.EventTypeWarning, "NetworkNotReady", err.Error())
		return
	}
	w.sandboxTries.Delay = min(max(2*w.sandboxTries.Delay, sandboxRetry), backoffMax)
	w.sandboxThing.RetryAt = w.d.now().Add(w.sandboxTries.Delay)
	w.event("", corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: "+err.Error())
}

func (w *worker) sandboxSpec() (runtime.SandboxSpec, []string, error) {
	pod, node := w.pod, &w.d.Node
	hostname, domain, err := launch.Hostname(pod, node.DNS.Domain)
	if err != nil {
		return runtime.SandboxSpec{}, nil, err
	}
	if pod.Spec.SetHostnameAsFQDN != nil && *pod.Spec.SetHostnameAsFQDN && domain != "" {
		hostname = hostname + "." + domain
	}
	own, err := os.ReadFile(node.ResolvConf)
	if err != nil {
		w.log.Warn("the node's resolv.conf cannot be read", zap.Error(err))
	}
	dns, warnings := node.DNS.DNS(pod, launch.ParseResolvConf(own))
	spec := runtime.SandboxSpec{
		PodUID: string(pod.UID), Namespace: pod.Namespace, Name: pod.Name,
		Hostname: hostname, Domainname: domain,
		HostNetwork: pod.Spec.HostNetwork, HostPID: pod.Spec.HostPID, HostIPC: pod.Spec.HostIPC,
		ShareProcessNamespace: isTrue(pod.Spec.ShareProcessNamespace),
		DNS:                   dns,
		Resources:             launch.PodResources(pod, node.PodPids),
		LogDir:                node.podLogDir(pod),
	}
	if w.sandbox != nil {
		spec.Attempt = w.sandbox.Attempt + 1
	}
	if sc := pod.Spec.SecurityContext; sc != nil && len(sc.Sysctls) > 0 {
		spec.Sysctls = make(map[string]string, len(sc.Sysctls))
		for _, s := range sc.Sysctls {
			spec.Sysctls[s.Name] = s.Value
		}
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, p := range c.Ports {
			if p.HostPort > 0 && !pod.Spec.HostNetwork {
				spec.PortMappings = append(spec.PortMappings, runtime.PortMapping{
					HostIP: p.HostIP, HostPort: uint16(p.HostPort), ContainerPort: uint16(p.ContainerPort), Protocol: string(p.Protocol),
				})
			}
		}
	}
	return spec, warnings, nil
}

// close stops or removes the sandbox of a pod that goes on or has ended.
func (w *worker) close(ctx context.Context, f func(context.Context, string) error, forget bool) {
	w.closing = true
	id := ""
	if w.sandbox != nil {
		id = w.sandbox.ID
	}
	w.go1(func() func() {
		var err error
		if id != "" {
			err = f(ctx, id)
		}
		return func() {
			w.closing = false
			if err != nil {
				w.log.Warn("sandbox not closed, trying again", zap.Error(err))
				w.closeRetryAt = w.d.now().Add(stopRetry)
				return
			}
			w.sandboxThing = Thing{Stage: Ended}
			if forget {
				w.sandbox, w.sandboxThing = nil, Thing{Stage: Missing}
			}
		}
	})
}

// remove takes everything of a deleted pod off the node, and says so.
func (w *worker) remove(ctx context.Context) {
	w.wipe(ctx, w.removedAll)
}

// wipe takes the sandbox, the containers, the volumes and the logs off the node.
func (w *worker) wipe(ctx context.Context, then func(error)) {
	w.closing = true
	w.d.Probes.Remove(w.uid)
	id, pod := "", w.pod
	if w.sandbox != nil {
		id = w.sandbox.ID
	}
	w.go1(func() func() {
		var err error
		if id != "" {
			err = w.d.Runtime.RemoveSandbox(ctx, id)
		}
		if err == nil {
			err = w.d.Volumes.TearDown(pod.UID)
		}
		if err == nil {
			err = tree.Remove(w.d.Node.podLogDir(pod))
		}
		return func() { then(err) }
	})
}

func (w *worker) removedAll(err error) {
	if err != nil {
		w.log.Warn("pod not removed, trying again", zap.Error(err))
		w.event("", corev1.EventTypeWarning, "FailedKillPod", "error killing pod: "+err.Error())
		w.closing, w.closeRetryAt = false, w.d.now().Add(stopRetry)
		return
	}
	w.d.Objects.Release(w.uid)
	w.d.Forget(w.uid)
	if err := w.d.Store.RemovePod(w.uid); err != nil {
		w.log.Warn("folder of the pod not removed", zap.Error(err))
	}
	if !w.removed {
		if err := w.d.Reports.Status(w.pod, &w.last, true); err != nil {
			w.log.Error("end of the pod not reported", zap.Error(err))
		}
	}
	w.finished = true
}

func isTrue(b *bool) bool { return b != nil && *b }
