package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/agent/internal/resize"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/status"
)

// resizeRetry is when cgroups that could not be set are tried again.
const resizeRetry = 10 * time.Second

// resizing is what a worker knows of its pod's resize.
type resizing struct {
	pending, progress *corev1.PodCondition // of the status; nil: absent
	changes           resize.Changes       // that would bring what runs to what is granted
	busy              bool                 // they are being made
	sandbox           *resize.Allocation   // what the sandbox was made for
	ended             bool                 // a resize has, and the manager does not know yet
	retryAt           time.Time
}

// ---- of the manager: what is granted ----

// allocation is what the pod was granted by a former agent, else all it asks for; kept: it is on disk.
func (m *Manager) allocation(pod *corev1.Pod) (a *resize.Allocation, kept bool) {
	a, err := resize.Load(m.d.Store.PodDir(pod.UID))
	if err != nil {
		m.d.Log.Warn("kept resources of a pod cannot be read", zap.String("uid", string(pod.UID)), zap.Error(err))
	}
	if a == nil || err != nil {
		return resize.Of(pod), err != nil
	}
	return a, true
}

// ask takes a newer version of a pod, which may ask for other resources. The lock is held.
func (m *Manager) ask(w *worker, pod *corev1.Pod) {
	old := w.newest
	w.newest = pod
	if w.granted.Apply(pod) == pod {
		if w.waiting {
			w.waiting, w.since = false, time.Time{}
			w.post(func() { w.resize.pending = nil })
		}
		return
	}
	if !w.waiting || old.Generation != pod.Generation {
		w.waiting = true
		m.settle()
	}
}

// hand gives the newest version to its worker. No status may show a version without what became of its wishes, so one
// that cannot be judged yet waits. The lock is held.
func (m *Manager) hand(w *worker) {
	w.held = w.waiting && !m.synced && w.newest.DeletionTimestamp == nil
	if w.held {
		w.fromAPI.Store(true)
		return
	}
	w.update(w.newest)
}

// room says that a pod of the node has ended, or may have less than it had.
func (m *Manager) room() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
}

// settle judges the resizes that wait, in their order, each against what all other pods are granted by then. It comes
// after everything that may make room. The lock is held.
func (m *Manager) settle() {
	if !m.synced { // pods may take room that are not known yet
		return
	}
	type waiting struct {
		w *worker
		r resize.Request
	}
	var list []waiting
	for _, w := range m.workers {
		if w.waiting && !w.over() && w.newest.DeletionTimestamp == nil {
			list = append(list, waiting{w, resize.Request{Asked: w.newest, Granted: w.granted.Apply(w.newest), Since: w.since}})
		}
	}
	slices.SortFunc(list, func(a, b waiting) int { return resize.Order(a.r, b.r) })
	for _, l := range list {
		m.judge(l.w)
	}
}

// judge grants a pod what it asks for, or defers it. The lock is held.
func (m *Manager) judge(w *worker) {
	pod := w.newest
	message := ""
	if node := m.d.Node.Object(); node != nil {
		var reason string
		if reason, message = Admit(pod, node, m.others(w)); reason != "" {
			if w.since.IsZero() {
				w.since = time.Now()
			}
			w.post(func() { w.deferred(pod, message) })
			return
		}
	}
	granted := resize.Of(pod)
	w.granted, w.waiting, w.since = granted, false, time.Time{}
	w.post(func() { w.grant(granted, pod) })
}

// ---- of the worker: what runs ----

// grant takes what the node has granted to a version of the pod.
func (w *worker) grant(granted *resize.Allocation, pod *corev1.Pod) {
	if w.finished || w.removed {
		return
	}
	now := w.d.now()
	w.alloc = granted
	w.resize.pending, w.resize.retryAt = nil, time.Time{}
	w.resize.progress = resizeCondition(corev1.PodResizeInProgress, nil, "", "", pod.Generation, now)
	w.event("", corev1.EventTypeNormal, "ResizeStarted", resize.Message(resize.Started, pod, pod.Generation, ""))
	w.take(w.asked)
	if w.volumes.Stage == Ready {
		w.refresh() // they may tell of the resources
	}
}

// deferred notes that there is no room for what a version of the pod asks for. Nothing that a node of ours may be asked
// is infeasible: the API refuses what is more than the whole node.
func (w *worker) deferred(pod *corev1.Pod, message string) {
	if w.finished || w.removed {
		return
	}
	was := w.resize.pending
	if was != nil && was.Reason == corev1.PodReasonDeferred && was.ObservedGeneration == pod.Generation && was.Message == message {
		return
	}
	w.resize.pending = resizeCondition(corev1.PodResizePending, was, corev1.PodReasonDeferred, message, pod.Generation, w.d.now())
	if was == nil || was.Reason != corev1.PodReasonDeferred || was.ObservedGeneration != pod.Generation {
		w.event("", corev1.EventTypeWarning, "ResizeDeferred", resize.Message(resize.Pending+corev1.PodReasonDeferred, pod, pod.Generation, message))
	}
}

// compare finds what runs to differ from what is granted, and notes the end of a resize.
func (w *worker) compare(now time.Time) {
	r := &w.resize
	r.changes = resize.Changes{}
	if w.failure != nil || terminal(w.last.Phase) {
		r.pending, r.progress = nil, nil
		return
	}
	if w.terminating() {
		return
	}
	anew := false
	if w.sandboxThing.Stage == Ready && !w.closing && w.sandbox != nil {
		running := map[string]resize.Container{}
		for _, spec := range w.specs() {
			c := w.container(spec.Name)
			anew = anew || c.again
			if !c.busy && len(c.records) > 0 && c.records[0].State == runtime.ContainerRunning {
				running[spec.Name] = resize.Container{Resources: c.records[0].Resources, Set: setBy(c.records[0])}
			}
		}
		r.changes = resize.Compare(w.pod, w.group, running)
	}
	switch open := r.changes.Unmet || w.resizeBusy() || anew; {
	case open && r.progress == nil:
		r.progress = resizeCondition(corev1.PodResizeInProgress, nil, "", "", w.pod.Generation, now)
	case !open && len(r.changes.Steps) == 0 && r.progress != nil:
		w.event("", corev1.EventTypeNormal, "ResizeCompleted", resize.Message(resize.Completed, w.pod, r.progress.ObservedGeneration, ""))
		r.progress, r.ended = nil, true
	}
}

// resizeBusy tells whether the pod's group may get another size yet: it is being set, or made for what the pod was
// granted before.
func (w *worker) resizeBusy() bool {
	return w.resize.busy || w.sandboxThing.Stage == Busy && w.resize.sandbox != w.alloc
}

// resizeNow makes the changes beside the worker.
func (w *worker) resizeNow(ctx context.Context) {
	changes, sandbox, rt := w.resize.changes, w.sandbox.ID, w.d.Runtime
	ids := map[string]string{"": sandbox}
	for _, s := range changes.Steps {
		if s.Container != "" {
			ids[s.Container] = w.container(s.Container).records[0].ID
		}
	}
	w.resize.busy = true
	w.go1(func() func() {
		err := makeChanges(ctx, rt, changes, ids)
		return func() { w.resizeOver(err) }
	})
}

func (w *worker) resizeOver(err error) {
	r := &w.resize
	r.busy = false
	if err == nil {
		return
	}
	now := w.d.now()
	r.retryAt = now.Add(resizeRetry)
	w.log.Info("pod not resized, trying again", zap.Error(err))
	if r.progress == nil || r.progress.Reason == corev1.PodReasonError && r.progress.Message == err.Error() {
		return
	}
	generation := r.progress.ObservedGeneration
	r.progress = resizeCondition(corev1.PodResizeInProgress, r.progress, corev1.PodReasonError, err.Error(), generation, now)
	w.event("", corev1.EventTypeWarning, "ResizeError", resize.Message(resize.Failed, w.pod, generation, err.Error()))
}

// makeChanges takes the steps in order, ids naming what they are about. What has ended meanwhile needs none of them.
func makeChanges(ctx context.Context, rt runtime.Runtime, changes resize.Changes, ids map[string]string) error {
	if err := inUse(rt, changes.Lower, ids); err != nil {
		return err
	}
	for _, s := range changes.Steps {
		var err error
		if s.Container == "" {
			err = rt.ResizeSandbox(ctx, ids[""], s.Resources)
		} else {
			err = rt.ResizeContainer(ctx, ids[s.Container], s.Resources, map[string]string{labelResources: setLabel(s.Set)})
		}
		if err != nil && !errors.Is(err, runtime.ErrNotRunning) && !errors.Is(err, runtime.ErrNotFound) {
			return err
		}
	}
	return nil
}

// inUse tells of memory limits that would be at or below what is used.
func inUse(rt runtime.Runtime, limits []resize.Lower, ids map[string]string) error {
	var texts []string
	for _, l := range limits {
		used, err := rt.MemoryUsed(ids[l.Container])
		switch what := fmt.Sprintf("container %q", l.Container); {
		case err != nil && l.Container != "":
			texts = append(texts, fmt.Sprintf("missing %s memory usage", what))
		case err != nil:
			texts = append(texts, "missing pod memory usage")
		case used < l.Limit:
		case l.Container == "":
			texts = append(texts, fmt.Sprintf("attempting to set pod memory limit (%d) below current usage (%d)", l.Limit, used))
		default:
			texts = append(texts, fmt.Sprintf("attempting to set %s memory limit (%d) below current usage (%d)", what, l.Limit, used))
		}
	}
	switch len(texts) {
	case 0:
		return nil
	case 1:
		return errors.New("cannot decrease memory limits: " + texts[0])
	}
	return errors.New("cannot decrease memory limits: [" + strings.Join(texts, ", ") + "]")
}

// setBy is what the cgroup of a container was last set by, nil when an agent of before made it.
func setBy(r *status.Record) *corev1.ResourceRequirements {
	text := r.Labels[labelResources]
	set := &corev1.ResourceRequirements{}
	if text == "" || json.Unmarshal([]byte(text), set) != nil {
		return nil
	}
	return set
}

func setLabel(set corev1.ResourceRequirements) string {
	data, _ := json.Marshal(set) // never fails
	return string(data)
}

// resizeKill is why a container is stopped whose resources cannot change while it runs.
func resizeKill(container string) string {
	return "Container " + container + " resize requires restart"
}

// remember takes the conditions of a pod that a former agent was resizing.
func (r *resizing) remember(conditions []corev1.PodCondition) {
	for _, c := range conditions {
		switch c.Type {
		case corev1.PodResizePending:
			r.pending = &c
		case corev1.PodResizeInProgress:
			r.progress = &c
		}
	}
}

func (r *resizing) conditions() (out []corev1.PodCondition) {
	for _, c := range []*corev1.PodCondition{r.pending, r.progress} {
		if c != nil {
			out = append(out, *c)
		}
	}
	return out
}

// resizeCondition is a condition that holds; its time is that of its reason.
func resizeCondition(t corev1.PodConditionType, was *corev1.PodCondition, reason, message string, generation int64, now time.Time) *corev1.PodCondition {
	stamp := metav1.NewTime(now).Rfc3339Copy()
	c := &corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: generation,
		LastProbeTime: stamp, LastTransitionTime: stamp}
	if was != nil && was.Reason == reason {
		c.LastTransitionTime = was.LastTransitionTime
	}
	return c
}
