package pod

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/probe"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/shutdown"
)

// runs puts a pod's containers into the fake runtime.
func (f *fakeRuntime) runs(pod *corev1.Pod) {
	sandbox := "sb-" + pod.Name
	f.sandboxes[sandbox] = &runtime.Sandbox{ID: sandbox, PodUID: string(pod.UID), Name: pod.Name, IPs: []string{"10.0.0.2"}, State: runtime.SandboxReady}
	for _, c := range containersOf(pod) {
		id := pod.Name + "-" + c.Name
		f.containers[id] = &runtime.ContainerStatus{ID: id, SandboxID: sandbox, Name: c.Name, State: runtime.ContainerRunning}
	}
}

func TestAHaltedPodEndsAsItSays(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	withGrace := func(pod *corev1.Pod, seconds int64) *corev1.Pod {
		pod.Spec.TerminationGracePeriodSeconds = &seconds
		return pod
	}
	hook := &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"bye"}}}}
	for name, c := range map[string]struct {
		pod      func() *corev1.Pod
		stubborn bool
		bound    time.Duration
		calls    []string
		graces   []time.Duration
		took     time.Duration
	}{
		"within its grace":   {func() *corev1.Pod { return withGrace(testPod("p", ""), 5) }, false, time.Minute, []string{"stop c"}, []time.Duration{5 * time.Second}, 0},
		"within the bound":   {func() *corev1.Pod { return withGrace(testPod("p", ""), 300) }, false, 10 * time.Second, []string{"stop c"}, []time.Duration{10 * time.Second}, 0},
		"however it behaves": {func() *corev1.Pod { return withGrace(testPod("p", ""), 300) }, true, 10 * time.Second, []string{"stop c"}, []time.Duration{10 * time.Second}, 10 * time.Second},
		"a hook first":       {func() *corev1.Pod { p := testPod("p", ""); p.Spec.Containers[0].Lifecycle = hook; return p }, false, time.Minute, []string{"exec [bye]", "stop c"}, []time.Duration{30 * time.Second}, 0},
		"a hook as part of its time": {func() *corev1.Pod {
			p := testPod("p", "")
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 7}}}
			return p
		}, false, 10 * time.Second, []string{"stop c"}, []time.Duration{3 * time.Second}, 7 * time.Second},
		"sidecars last, backward": {func() *corev1.Pod {
			p := withGrace(testPod("p", ""), 5)
			p.Spec.InitContainers = []corev1.Container{{Name: "s1", RestartPolicy: &always}, {Name: "s2", RestartPolicy: &always}}
			return p
		}, false, time.Minute, []string{"stop c", "stop s2", "stop s1"}, []time.Duration{5 * time.Second, 5 * time.Second, 5 * time.Second}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt, pod := newFakeRuntime(), c.pod()
				rt.stubborn = c.stubborn
				rt.runs(pod)
				h := &Halt{Runtime: rt, Runner: probe.NewRunner(rt), Log: zaptest.NewLogger(t)}
				began := time.Now()
				h.Groups(t.Context(), []shutdown.Group{{Pods: []*corev1.Pod{pod}, Bound: c.bound}})
				if took := time.Since(began); took != c.took || !slices.Equal(rt.calls, c.calls) || !slices.Equal(rt.graces, c.graces) {
					t.Errorf("calls %q with graces %v in %s; want %q, %v, %s", rt.calls, rt.graces, took, c.calls, c.graces, c.took)
				}
			})
		})
	}
}

func TestHaltedGroupsEndOneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rt, first, second := newFakeRuntime(), testPod("first", ""), testPod("second", "")
		first.Spec.Containers[0].Name, second.Spec.Containers[0].Name = "f", "s"
		rt.stubborn = true
		rt.runs(first)
		rt.runs(second)
		h := &Halt{Runtime: rt, Runner: probe.NewRunner(rt), Log: zaptest.NewLogger(t)}
		began := time.Now()
		h.Groups(t.Context(), []shutdown.Group{{Pods: []*corev1.Pod{first}, Bound: 20 * time.Second}, {Pods: []*corev1.Pod{second}, Bound: 10 * time.Second}})
		if want := []string{"stop f", "stop s"}; !slices.Equal(rt.calls, want) || time.Since(began) != 30*time.Second {
			t.Errorf("calls %q in %s, want %q", rt.calls, time.Since(began), want)
		}
	})
}
