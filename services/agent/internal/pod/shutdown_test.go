package pod

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/shutdown"
)

func TestPodsOfANodeThatShutsDownEndAndNoneBegins(t *testing.T) {
	t.Parallel()
	rt := newFakeRuntime()
	b := newBench(t, rt, t.TempDir())
	plain, system := testPod("plain", corev1.RestartPolicyAlways), testPod("system", corev1.RestartPolicyAlways)
	high, long := int32(2_000_000_000), int64(300)
	system.Spec.Priority, plain.Spec.TerminationGracePeriodSeconds = &high, &long
	plain.Spec.Containers[0].Name, system.Spec.Containers[0].Name = "p", "s"
	for _, pod := range []*corev1.Pod{plain, system} {
		b.m.Update(pod)
		b.until(pod, "ready", running)
	}
	b.m.ShuttingDown(true)
	b.m.ShutDown(t.Context(), shutdown.Periods(50*time.Second, 20*time.Second))
	for _, pod := range []*corev1.Pod{plain, system} {
		s := b.until(pod, "ended", func(s corev1.PodStatus, _ bool) bool { return s.Phase == corev1.PodFailed })
		i := slices.IndexFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget })
		if s.Reason != "Terminated" || s.Message != "Pod was terminated in response to imminent node shutdown." || i < 0 || s.Conditions[i].Reason != "TerminationByKubelet" {
			t.Errorf("%s: %+v", pod.Name, s)
		}
	}
	rt.mu.Lock()
	first, second := slices.Index(rt.calls, "stop p"), slices.Index(rt.calls, "stop s")
	rt.mu.Unlock()
	if first < 0 || second < first {
		t.Errorf("calls %q: the pod that the cluster needs is to end last", rt.calls)
	}
	if want := []time.Duration{30 * time.Second, 20 * time.Second}; !slices.Equal(rt.graceOfStops(), want) {
		t.Errorf("graces %v, want %v", rt.graceOfStops(), want)
	}
	late := testPod("late", corev1.RestartPolicyAlways)
	b.m.Update(late)
	if s := b.until(late, "rejected", func(s corev1.PodStatus, _ bool) bool { return s.Phase == corev1.PodFailed }); s.Reason != "NodeShutdown" || s.Message != "Pod was rejected: Pod was rejected as the node is shutting down." {
		t.Errorf("%+v", s)
	}
	b.m.ShuttingDown(false)
	again := testPod("again", corev1.RestartPolicyAlways)
	b.m.Update(again)
	b.until(again, "ready", running)
}
