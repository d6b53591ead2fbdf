package pod

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// sizedPod has a container with the same requests and limits.
func sizedPod(name, cpu, memory string) *corev1.Pod {
	pod := testPod(name, corev1.RestartPolicyOnFailure)
	return withSize(pod, cpu, memory, pod.Generation)
}

// withSize is the pod's next version.
func withSize(pod *corev1.Pod, cpu, memory string, generation int64) *corev1.Pod {
	next := pod.DeepCopy()
	next.Generation = generation
	list := corev1.ResourceList{corev1.ResourceCPU: quantity(cpu), corev1.ResourceMemory: quantity(memory)}
	next.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
	return next
}

func conditionOf(s corev1.PodStatus, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

// resizedTo tells whether the status shows the end of a resize.
func resizedTo(cpu, memory string, generation int64) func(corev1.PodStatus, bool) bool {
	return func(s corev1.PodStatus, gone bool) bool {
		if !running(s, gone) || s.ObservedGeneration != generation || conditionOf(s, corev1.PodResizePending) != nil || conditionOf(s, corev1.PodResizeInProgress) != nil {
			return false
		}
		c := s.ContainerStatuses[0]
		return c.Resources.Limits.Cpu().Cmp(quantity(cpu)) == 0 && c.Resources.Requests.Memory().Cmp(quantity(memory)) == 0 &&
			c.AllocatedResources.Cpu().Cmp(quantity(cpu)) == 0
	}
}

func (b *bench) happened(beginning string) int {
	b.rec.mu.Lock()
	defer b.rec.mu.Unlock()
	n := 0
	for _, e := range b.rec.events {
		if strings.HasPrefix(e, beginning) {
			n++
		}
	}
	return n
}

func (b *bench) calls() []string {
	b.rt.mu.Lock()
	defer b.rt.mu.Unlock()
	return slices.Clone(b.rt.calls)
}

// room gives the bench's node so much CPU.
func (b *bench) room(cpu string) {
	node := &corev1.Node{Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourceCPU: quantity(cpu)}}}
	b.m.d.Node.Object = func() *corev1.Node { return node }
}

func TestARunningPodIsResized(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	b.m.Synced()
	pod := sizedPod("p", "100m", "64Mi")
	b.m.Update(pod)
	b.until(pod, "ready", resizedTo("100m", "64Mi", 1))
	b.m.Update(withSize(pod, "200m", "128Mi", 2))
	s := b.until(pod, "resized", resizedTo("200m", "128Mi", 2))
	want := []string{"resize pod cpu 102/10000 memory 128Mi", "resize c cpu 102/10000 memory 128Mi", "resize pod cpu 204/20000 memory 128Mi", "resize c cpu 204/20000 memory 128Mi"}
	if calls := b.calls(); !slices.Equal(calls[len(calls)-4:], want) || s.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("calls %q, want %q last; status %+v", calls, want, s.ContainerStatuses[0])
	}
	for _, e := range []string{"ResizeStarted: Pod resize started: {", "ResizeCompleted: Pod resize completed: {"} {
		if n := b.happened(e); n != 1 {
			t.Errorf("%d events %q: %q", n, e, b.rec.events)
		}
	}
	b.m.Update(withSize(pod, "100m", "64Mi", 3))
	b.until(pod, "resized back", resizedTo("100m", "64Mi", 3))
}

func TestAContainerRestartsWhereItsPolicySaysSo(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	b.rt.stopCode = 0 // it ends well, and its pod restarts failures only
	b.m.Synced()
	pod := sizedPod("p", "100m", "64Mi")
	pod.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	b.m.Update(pod)
	b.until(pod, "ready", running)
	b.m.Update(withSize(pod, "100m", "128Mi", 2))
	s := b.until(pod, "resized", resizedTo("100m", "128Mi", 2))
	if s.ContainerStatuses[0].RestartCount != 1 || b.happened("Killing: Container c resize requires restart") != 1 {
		t.Errorf("restarts %d, events %q", s.ContainerStatuses[0].RestartCount, b.rec.events)
	}
	calls := b.calls()
	if i, j := slices.Index(calls, "resize pod cpu 102/10000 memory 128Mi"), slices.Index(calls, "start c 1"); i < 0 || j < i {
		t.Errorf("the pod's group grows before the container starts: %q", calls)
	}
	b.m.Update(withSize(pod, "100m", "64Mi", 3)) // at once again: a wanted restart has no back-off
	s = b.until(pod, "resized back", resizedTo("100m", "64Mi", 3))
	if s.ContainerStatuses[0].RestartCount != 2 || b.happened("BackOff") != 0 {
		t.Errorf("restarts %d, events %q", s.ContainerStatuses[0].RestartCount, b.rec.events)
	}
}

func TestAResizeWaitsForRoom(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(b *bench, other *corev1.Pod){
		"that a pod leaves": func(b *bench, other *corev1.Pod) { b.m.Update(deleted(other)) },
		"that a pod makes by asking for less": func(b *bench, other *corev1.Pod) {
			b.m.Update(withSize(other, "100m", "64Mi", 2))
		},
		"of a pod whose object is gone": func(b *bench, other *corev1.Pod) { b.m.Remove(other) },
		"of a pod that ends": func(b *bench, other *corev1.Pod) {
			for _, sb := range b.rt.Sandboxes() {
				if sb.Name == other.Name {
					b.rt.end(b.rt.Containers(sb.ID)[0].ID, 0)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, newFakeRuntime(), t.TempDir())
			b.room("1")
			b.m.Synced()
			pod, other := sizedPod("p", "500m", "64Mi"), sizedPod("other", "500m", "64Mi")
			b.m.Update(pod)
			b.m.Update(other)
			b.until(pod, "ready", running)
			b.until(other, "ready", running)
			b.m.Update(withSize(pod, "900m", "64Mi", 2))
			s := b.until(pod, "deferred", func(s corev1.PodStatus, _ bool) bool {
				return s.ObservedGeneration == 2 && conditionOf(s, corev1.PodResizePending) != nil
			})
			c := conditionOf(s, corev1.PodResizePending)
			if c.Reason != "Deferred" || c.Status != corev1.ConditionTrue || c.ObservedGeneration != 2 ||
				c.Message != "Node didn't have enough resource: cpu, requested: 900, used: 500, capacity: 1000" {
				t.Errorf("condition %+v", c)
			}
			if r := s.ContainerStatuses[0]; r.Resources.Limits.Cpu().MilliValue() != 500 || r.AllocatedResources.Cpu().MilliValue() != 500 {
				t.Errorf("the container has what it had: %+v", r)
			}
			if n := b.happened("ResizeDeferred: Pod resize Deferred: {"); n != 1 {
				t.Errorf("%d events: %q", n, b.rec.events)
			}
			leave(b, other)
			b.until(pod, "resized", resizedTo("900m", "64Mi", 2))
		})
	}
}

func TestAResizeThatIsTakenBackIsNoLongerPending(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	b.room("1")
	b.m.Synced()
	pod := sizedPod("p", "500m", "64Mi")
	b.m.Update(pod)
	b.until(pod, "ready", running)
	b.m.Update(withSize(pod, "2", "64Mi", 2))
	b.until(pod, "deferred", func(s corev1.PodStatus, _ bool) bool { return conditionOf(s, corev1.PodResizePending) != nil })
	b.m.Update(withSize(pod, "500m", "64Mi", 3))
	b.until(pod, "as before", resizedTo("500m", "64Mi", 3))
	if n := b.happened("ResizeStarted"); n != 0 {
		t.Errorf("something was resized: %q", b.rec.events)
	}
}

func TestTheMoreImportantResizeComesFirst(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	b.room("1")
	b.m.Synced()
	low, high, other := sizedPod("low", "200m", "64Mi"), sizedPod("high", "200m", "64Mi"), sizedPod("other", "600m", "64Mi")
	priority := int32(1000)
	high.Spec.Priority = &priority
	pending := func(s corev1.PodStatus, _ bool) bool { return conditionOf(s, corev1.PodResizePending) != nil }
	for _, p := range []*corev1.Pod{low, high, other} {
		b.m.Update(p)
		b.until(p, "ready", running)
	}
	b.m.Update(withSize(low, "700m", "64Mi", 2))
	b.until(low, "deferred", pending)
	b.m.Update(withSize(high, "700m", "64Mi", 2))
	b.until(high, "deferred", pending)
	b.m.Remove(other)
	b.until(high, "resized", resizedTo("700m", "64Mi", 2))
	b.until(low, "still deferred, for the other's sake", func(s corev1.PodStatus, _ bool) bool {
		c := conditionOf(s, corev1.PodResizePending)
		return c != nil && strings.HasSuffix(c.Message, "requested: 700, used: 700, capacity: 1000")
	})
}

func TestALimitIsNotLoweredBelowWhatIsUsed(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	b.rt.used = 100 << 20
	b.m.Synced()
	pod := sizedPod("p", "100m", "128Mi")
	b.m.Update(pod)
	b.until(pod, "ready", running)
	b.m.Update(withSize(pod, "100m", "64Mi", 2))
	s := b.until(pod, "refused", func(s corev1.PodStatus, _ bool) bool {
		c := conditionOf(s, corev1.PodResizeInProgress)
		return c != nil && c.Reason == "Error"
	})
	want := `cannot decrease memory limits: [attempting to set pod memory limit (67108864) below current usage (104857600), ` +
		`attempting to set container "c" memory limit (67108864) below current usage (104857600)]`
	if c := conditionOf(s, corev1.PodResizeInProgress); c.Message != want || c.ObservedGeneration != 2 {
		t.Errorf("condition %+v", c)
	}
	c := s.ContainerStatuses[0]
	if c.Resources.Limits.Memory().Cmp(quantity("128Mi")) != 0 || c.AllocatedResources.Memory().Cmp(quantity("64Mi")) != 0 {
		t.Errorf("it has the old limit and is granted the new: %+v", c)
	}
	if n := b.happened("ResizeError: Pod resize error: {"); n != 1 {
		t.Errorf("%d events: %q", n, b.rec.events)
	}
	b.rt.mu.Lock()
	b.rt.used = 1 << 20
	b.rt.mu.Unlock()
	b.m.Update(withSize(pod, "200m", "64Mi", 3)) // does not wait for the next attempt
	b.until(pod, "resized", resizedTo("200m", "64Mi", 3))
}

func TestARuntimeThatFailsIsShownAndAskedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	b.rt.resizeErr = errors.New("device or resource busy")
	b.m.Synced()
	pod := sizedPod("p", "100m", "64Mi")
	b.m.Update(pod)
	b.until(pod, "ready", running)
	b.m.Update(withSize(pod, "100m", "32Mi", 2))
	b.until(pod, "failed", func(s corev1.PodStatus, _ bool) bool {
		c := conditionOf(s, corev1.PodResizeInProgress)
		return c != nil && c.Reason == "Error" && c.Message == "device or resource busy"
	})
	b.rt.mu.Lock()
	b.rt.resizeErr = nil
	b.rt.mu.Unlock()
	b.m.Update(withSize(pod, "100m", "48Mi", 3))
	b.until(pod, "resized", resizedTo("100m", "48Mi", 3))
}

func TestAnAgentRestartKeepsWhatWasGranted(t *testing.T) {
	t.Parallel()
	dir, rt := t.TempDir(), newFakeRuntime()
	first := newBench(t, rt, dir)
	first.room("1")
	first.m.Synced()
	pod := sizedPod("p", "500m", "64Mi")
	first.m.Update(pod)
	first.until(pod, "ready", running)
	bigger := withSize(pod, "2", "64Mi", 2)
	first.m.Update(bigger)
	first.until(pod, "deferred", func(s corev1.PodStatus, _ bool) bool {
		return s.ObservedGeneration == 2 && conditionOf(s, corev1.PodResizePending) != nil
	})
	first.stop()

	second := newBench(t, rt, dir)
	second.room("1")
	pods, statuses, err := second.store.Pods()
	if err != nil || len(pods) != 1 || pods[0].Spec.Containers[0].Resources.Limits.Cpu().Value() != 2 {
		t.Fatalf("kept pods %v, %v", pods, err)
	}
	second.m.Adopt(pods[0], statuses[pods[0].UID])
	second.m.Update(bigger)
	second.m.Synced()
	s := second.until(pod, "deferred still", func(s corev1.PodStatus, _ bool) bool { return conditionOf(s, corev1.PodResizePending) != nil })
	if c := s.ContainerStatuses[0]; c.AllocatedResources.Cpu().MilliValue() != 500 || slices.ContainsFunc(second.calls(), func(c string) bool { return strings.HasPrefix(c, "resize") }) {
		t.Errorf("status %+v, calls %q", c, second.calls())
	}
	late := sizedPod("late", "500m", "64Mi") // what is granted counts, not what is asked for
	second.m.Update(late)
	second.until(late, "ready", running)
	second.m.Remove(late)
	second.m.Update(withSize(pod, "1", "64Mi", 3))
	second.until(pod, "resized", resizedTo("1", "64Mi", 3))
	if _, kept := second.m.allocation(pod); kept {
		t.Error("an allocation is kept that is the pod's own")
	}
}

func TestNoStatusShowsAVersionThatIsNotJudged(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	b.room("1")
	pod, next := sizedPod("p", "500m", "64Mi"), sizedPod("next", "100m", "64Mi")
	b.m.Update(pod)
	b.until(pod, "ready", running)
	b.m.Update(withSize(pod, "2", "64Mi", 2)) // other pods of the node may not be known yet
	b.m.Update(next)
	b.until(next, "ready", running)
	b.rec.mu.Lock()
	shown := b.rec.status[pod.UID].ObservedGeneration
	b.rec.mu.Unlock()
	if shown != 1 {
		t.Errorf("generation %d is shown", shown)
	}
	b.m.Synced()
	b.until(pod, "deferred", func(s corev1.PodStatus, _ bool) bool {
		return s.ObservedGeneration == 2 && conditionOf(s, corev1.PodResizePending) != nil
	})
}

func TestAPodResizedBeforeItsContainersStartHasTheNewSize(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	b.m.Synced()
	b.rt.held = make(chan struct{})
	pod := sizedPod("p", "100m", "64Mi")
	b.rt.pullErr = errors.New("not yet")
	pod.Spec.Containers[0].Image = "late"
	b.m.Update(pod)
	b.until(pod, "waiting for its image", func(s corev1.PodStatus, _ bool) bool {
		return len(s.ContainerStatuses) > 0 && s.ContainerStatuses[0].State.Waiting != nil && s.ContainerStatuses[0].State.Waiting.Reason == reasonPull
	})
	next := withSize(pod, "200m", "128Mi", 2)
	next.Spec.Containers[0].Image = "img"
	b.m.Update(next)
	b.until(pod, "being resized", func(s corev1.PodStatus, _ bool) bool {
		return s.ObservedGeneration == 2 && conditionOf(s, corev1.PodResizeInProgress) != nil
	})
	close(b.rt.held)
	b.until(pod, "ready with it", resizedTo("200m", "128Mi", 2))
	want := []string{"sandbox p", "resize pod cpu 102/10000 memory 128Mi", "resize pod cpu 204/20000 memory 128Mi", "start c 0"}
	if calls := b.calls(); !slices.Equal(calls[len(calls)-4:], want) {
		t.Errorf("calls %q, want %q last", calls, want)
	}
	sb := b.rt.Sandboxes()[0]
	if got := b.rt.Containers(sb.ID)[0].Resources; got.MemoryLimit != 128<<20 || sb.Resources.MemoryLimit != 128<<20 || sb.Resources.CPUQuota != 20000 {
		t.Errorf("container %+v, pod %+v", got, sb.Resources)
	}
}
