package pod

import (
	"errors"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// fakeCPUs gives the pod "own" CPU 1 for itself, and refuses "late".
type fakeCPUs struct {
	mu    sync.Mutex
	taken bool
}

func (*fakeCPUs) Wants(pod *corev1.Pod) bool { return pod.Name != "shares" }
func (*fakeCPUs) Reconcile() error           { return nil }

func (f *fakeCPUs) Allocate(pod *corev1.Pod) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if pod.Name == "late" {
		return errors.New("not enough cpus available to satisfy request: requested=1, available=0")
	}
	f.taken = true
	return nil
}

func (f *fakeCPUs) CPUs(uid types.UID, _ string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case uid == "uid-own":
		return "1"
	case f.taken:
		return "0"
	}
	return "0-1"
}

func TestWhoHasItsOwnCPUsTakesThemFromTheOthers(t *testing.T) {
	t.Parallel()
	rt := newFakeRuntime()
	b := newBench(t, rt, t.TempDir())
	b.m.d.CPUs = &fakeCPUs{}
	shares, own, late := testPod("shares", corev1.RestartPolicyAlways), testPod("own", corev1.RestartPolicyAlways), testPod("late", corev1.RestartPolicyAlways)
	shares.Spec.Containers[0].Name, own.Spec.Containers[0].Name = "s", "o"
	b.m.Update(shares)
	b.until(shares, "ready", running)
	b.m.Update(own)
	b.until(own, "ready", running)
	rt.mu.Lock()
	moved, started := slices.Index(rt.calls, "place s on 0"), slices.Index(rt.calls, "start o 0")
	if moved < 0 || started < moved {
		t.Errorf("calls %q: the others are to be moved before the new one starts", rt.calls)
	}
	rt.mu.Unlock()
	b.m.Update(late)
	s := b.until(late, "rejected", func(s corev1.PodStatus, _ bool) bool { return s.Phase == corev1.PodFailed })
	const want = "Pod was rejected: Allocate failed due to not enough cpus available to satisfy request: requested=1, available=0, which is unexpected"
	if s.Reason != "UnexpectedAdmissionError" || s.Message != want || rt.called("sandbox late") != 0 {
		t.Errorf("%s: %s; calls %q", s.Reason, s.Message, rt.calls)
	}
}
