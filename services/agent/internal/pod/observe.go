package pod

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"kubus.dev/services/agent/internal/logs"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/status"
)

// Labels of our containers in the runtime.
const (
	labelImage     = "kubus.dev/image"     // the image as the spec names it
	labelResources = "kubus.dev/resources" // what its cgroup was last set by, as JSON
)

// Limits of termination messages.
const (
	maxTerminationMessage = 4096
	maxTerminationLog     = 2048
	terminationLogLines   = 80
)

// adopt finds what a former agent left of the pod.
func (w *worker) adopt(ctx context.Context) {
	var mine []runtime.Sandbox
	for _, sb := range w.d.Runtime.Sandboxes() {
		if sb.PodUID == string(w.uid) {
			mine = append(mine, sb)
		}
	}
	if len(mine) == 0 {
		return
	}
	slices.SortFunc(mine, func(a, b runtime.Sandbox) int { return b.CreatedAt.Compare(a.CreatedAt) })
	w.sandbox = &mine[0]
	w.sandboxThing.Stage = Ended
	if mine[0].State == runtime.SandboxReady {
		w.sandboxThing.Stage = Ready
		w.sandboxGate = newGate[*runtime.Sandbox]()
		w.sandboxGate.open(w.sandbox, nil)
	}
	for _, old := range mine[1:] {
		if err := w.d.Runtime.RemoveSandbox(ctx, old.ID); err != nil {
			w.log.Warn("old sandbox not removed", zap.String("sandbox", old.ID), zap.Error(err))
		}
	}
	for _, c := range w.d.Runtime.Containers(w.sandbox.ID) {
		if c.State != runtime.ContainerCreated {
			continue
		}
		if err := w.d.Runtime.RemoveContainer(ctx, c.ID); err != nil { // its start was cut off; it never ran
			w.log.Warn("unstarted container not removed", zap.String("container", c.Name), zap.Error(err))
		}
	}
}

// observe looks at what the runtime says of the pod.
func (w *worker) observe(ctx context.Context, now time.Time) {
	byName := map[string][]*status.Record{}
	if w.sandbox != nil {
		w.observeSandbox()
		for _, s := range w.d.Runtime.Containers(w.sandbox.ID) {
			byName[s.Name] = append(byName[s.Name], &status.Record{ContainerStatus: s})
		}
	}
	for _, spec := range w.specs() {
		c := w.container(spec.Name)
		fresh := byName[spec.Name]
		slices.SortFunc(fresh, func(a, b *status.Record) int { return b.Attempt - a.Attempt })
		if !c.busy {
			fresh = slices.DeleteFunc(fresh, func(r *status.Record) bool { return r.State == runtime.ContainerCreated })
		}
		if len(fresh) > 2 {
			fresh = fresh[:2]
		}
		for _, r := range fresh {
			if r.State == runtime.ContainerExited {
				r.TerminationMessage = w.terminationMessage(ctx, spec, c, r)
			}
		}
		c.records = fresh
		w.countExit(spec, c, now)
		if !c.flipAt.IsZero() && !now.Before(c.flipAt) {
			w.flipPull(spec, c)
		}
	}
	w.restarting = w.restartAll() || w.restarting && !w.regularMade()
	if w.volumes.Stage == Ready && !w.renewAt.IsZero() && !now.Before(w.renewAt) && !w.terminating() {
		w.refresh()
	}
}

func (w *worker) observeSandbox() {
	if w.sandboxThing.Stage != Ready {
		return
	}
	for _, sb := range w.d.Runtime.Sandboxes() {
		if sb.ID == w.sandbox.ID {
			if sb.State == runtime.SandboxReady {
				w.group = sb.Resources
				return
			}
			break
		}
	}
	w.sandboxThing.Stage = Ended
}

// countExit notes the end of a container once, and how long it must wait.
func (w *worker) countExit(spec *corev1.Container, c *container, now time.Time) {
	if len(c.records) == 0 || c.busy {
		return
	}
	r := c.records[0]
	if c.crash.Delay == 0 && c.exitSeen == "" && r.Attempt > 0 {
		// It has crashed before, under an agent that is gone.
		c.crash = Backoff{Delay: min(backoffInitial<<min(r.Attempt-1, 10), backoffMax), Updated: r.CreatedAt}
	}
	if r.State != runtime.ContainerExited || c.exitSeen == r.ID {
		return
	}
	c.exitSeen, c.preStop = r.ID, false
	code := int32(r.ExitCode)
	again := status.Restarts(w.pod, spec, code)
	if w.isInit(spec) && !status.Sidecar(spec) {
		again = status.InitRestarts(w.pod, spec, code)
	}
	c.retryAt = time.Time{}
	if !again || c.again || status.RestartsAll(spec, code) || w.terminating() {
		return
	}
	until := c.crash.After(r.FinishedAt)
	if !until.After(now) {
		return
	}
	c.retryAt = until
	c.waiting = &status.Reason{Reason: "CrashLoopBackOff", Message: crashLoopMessage(c.crash, spec.Name, podName(w.pod))}
	w.event(spec.Name, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container "+spec.Name+" in pod "+podName(w.pod))
}

func (w *worker) isInit(spec *corev1.Container) bool {
	return slices.ContainsFunc(w.pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == spec.Name })
}

// terminationMessage reads what the container left for its status, once.
func (w *worker) terminationMessage(ctx context.Context, spec *corev1.Container, c *container, r *status.Record) string {
	for _, old := range c.records {
		if old.ID == r.ID && old.State == runtime.ContainerExited {
			return old.TerminationMessage
		}
	}
	text := ""
	f, err := os.Open(w.terminationFile(spec.Name, r.Attempt))
	if err == nil {
		data, readErr := io.ReadAll(io.LimitReader(f, maxTerminationMessage))
		_ = f.Close() // only read
		text, err = string(data), readErr
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "Error on reading termination log: " + err.Error()
	}
	if text == "" && r.ExitCode != 0 && r.Reason != runtime.ReasonStart && spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		if text, err = logs.Last(ctx, r.LogPath, terminationLogLines, maxTerminationLog); err != nil {
			return "Error on reading termination message from logs: " + err.Error()
		}
	}
	return text
}

func (w *worker) terminationFile(name string, attempt int) string {
	return filepath.Join(w.d.Store.PodDir(w.uid), "containers", name, strconv.Itoa(attempt))
}

// report writes the status when it changed. It gives the time of a report that
// is held back, zero for none.
func (w *worker) report(done bool, now time.Time) time.Time {
	in := status.Input{
		Pod: w.pod, Previous: &w.last, Containers: make(map[string]status.Container, len(w.containers)),
		PodIPs: w.podIPs(), HostIPs: w.d.Node.IPs(), SandboxReady: w.sandboxThing.Stage == Ready && !w.closing,
		Terminal: done, Failure: w.failure, Resize: w.resize.conditions(), Resizing: len(w.resize.changes.Steps) > 0, Restarting: w.restarting, Now: now,
	}
	for _, spec := range w.specs() {
		c := w.container(spec.Name)
		k := status.Container{Waiting: c.waiting, Again: c.again}
		if len(c.records) > 0 {
			k.Newest = c.records[0]
			k.Set = setBy(k.Newest)
			k.Starting = c.busy && k.Newest.State != runtime.ContainerExited
			r := w.d.Probes.Result(w.uid, spec.Name, k.Newest.ID)
			k.Started, k.Ready = r.Started, r.Ready
		}
		if len(c.records) > 1 {
			k.Last = c.records[1]
		}
		if w.terminating() {
			k.Waiting = nil
		}
		in.Containers[spec.Name] = k
	}
	s := status.Generate(in)
	same := equality.Semantic.DeepEqual(&s, &w.last)
	if same && w.sent {
		return time.Time{}
	}
	if until := w.replacing(now); w.sent && !until.IsZero() {
		return until
	}
	w.last = s
	if !w.sent && quiet(&s) {
		if until := w.bornAt.Add(quietFor); now.Before(until) {
			return until
		}
	}
	w.sent = true
	if err := w.d.Reports.Status(w.pod, &s, false); err != nil {
		w.log.Error("status not reported", zap.Error(err))
	}
	w.keepStatus()
	return time.Time{}
}

// replaceFor is how long what lies between a container that has ended because its image
// changed, and the one that takes its place, is not told: as a kubelet, which reports
// when it is through with the pod.
const replaceFor = time.Second

// replacing is when such a replacement has to be told at the latest; zero: there is none.
func (w *worker) replacing(now time.Time) (until time.Time) {
	for _, spec := range w.specs() {
		c := w.container(spec.Name)
		if len(c.records) == 0 || w.terminating() || c.waiting != nil {
			c.replacedBy = time.Time{}
			continue
		}
		newest := c.records[0]
		other := newest.Labels[labelImage] != "" && newest.Labels[labelImage] != spec.Image
		switch ended := newest.State == runtime.ContainerExited; {
		case other && ended && c.replacedBy.IsZero():
			c.replacedBy = now.Add(replaceFor)
		case !other && !c.busy || !other && ended: // the new one runs, or is already over
			c.replacedBy = time.Time{}
		}
		if now.Before(c.replacedBy) {
			earliest(&until, c.replacedBy)
		}
	}
	return until
}

func (w *worker) keepStatus() {
	if err := w.d.Store.SaveStatus(w.uid, &w.last); err != nil {
		w.log.Warn("status not kept on disk", zap.Error(err))
	}
}

// quiet tells whether a status says nothing but that containers are being made.
func quiet(s *corev1.PodStatus) bool {
	if s.Phase != corev1.PodPending {
		return false
	}
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses} {
		for i := range list {
			waiting := list[i].State.Waiting
			if waiting == nil || waiting.Reason != status.ContainerCreating && waiting.Reason != status.PodInitializing {
				return false
			}
		}
	}
	return true
}
