package pod

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/eviction"
)

func hasFailed(s corev1.PodStatus, _ bool) bool { return s.Phase == corev1.PodFailed }

func TestAnEvictedPodLeavesNothingButItsStatus(t *testing.T) {
	t.Parallel()
	rt := newFakeRuntime()
	b := newBench(t, rt, t.TempDir())
	pod := testPod("big", corev1.RestartPolicyAlways)
	pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	b.m.Update(pod)
	b.until(pod, "ready", running)
	logs := b.m.d.Node.podLogDir(pod)
	if err := os.MkdirAll(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	for len(b.m.Active()) == 0 { // its status comes a moment before
		time.Sleep(time.Millisecond)
	}
	<-b.m.Evict(pod.UID, eviction.Cause{Message: "too big", Grace: time.Second})
	s := b.until(pod, "failed", hasFailed)
	if s.Reason != "Evicted" || s.Message != "too big" || s.ContainerStatuses[0].State.Terminated == nil {
		t.Errorf("status %+v", s)
	}
	for what, path := range map[string]string{"its logs": logs, "its volumes": filepath.Join(b.store.PodDir(pod.UID), "volumes")} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s are left: %v", what, err)
		}
	}
	if len(rt.Sandboxes()) != 0 || len(b.m.Active()) != 0 {
		t.Errorf("left are sandboxes %v and active pods %v", rt.Sandboxes(), b.m.Active())
	}
	if graces := rt.graceOfStops(); !slices.Equal(graces, []time.Duration{time.Second}) {
		t.Errorf("its container got %s", graces)
	}
	b.rec.mu.Lock()
	events := slices.Clone(b.rec.events)
	b.rec.mu.Unlock()
	if !slices.Contains(events, "Evicted: too big") {
		t.Errorf("events %q", events)
	}
	b.m.Update(deleted(pod))
	b.until(pod, "gone", func(_ corev1.PodStatus, gone bool) bool { return gone })
}

func TestAPodThatTakesItsTimeToEndIsHurriedByAnEviction(t *testing.T) {
	t.Parallel()
	rt := newFakeRuntime()
	rt.stubborn = true
	b := newBench(t, rt, t.TempDir())
	pod := testPod("slow", corev1.RestartPolicyAlways)
	b.m.Update(pod)
	b.until(pod, "ready", running)
	d, grace := deleted(pod), int64(600)
	d.DeletionGracePeriodSeconds = &grace
	b.m.Update(d)
	for len(rt.graceOfStops()) == 0 {
		time.Sleep(time.Millisecond)
	}
	<-b.m.Evict(pod.UID, eviction.Cause{Message: "too big", Grace: time.Millisecond})
	b.until(pod, "gone", func(_ corev1.PodStatus, gone bool) bool { return gone })
}

func TestAnEvictionThatAnAgentDidNotFinishIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	dir, rt := t.TempDir(), newFakeRuntime()
	first := newBench(t, rt, dir)
	pod := testPod("big", corev1.RestartPolicyNever)
	first.m.Update(pod)
	first.until(pod, "ready", running)
	first.stop()
	rt.end(rt.Containers(rt.Sandboxes()[0].ID)[0].ID, 137)

	second := newBench(t, rt, dir)
	_, statuses, err := second.store.Pods()
	if err != nil {
		t.Fatal(err)
	}
	last := statuses[pod.UID]
	last.Phase, last.Reason, last.Message = corev1.PodFailed, "Evicted", "too big"
	second.m.Adopt(pod, last)
	second.m.Update(pod)
	<-second.m.Evict(pod.UID, eviction.Cause{Message: "again", Grace: time.Second})
	if s := second.until(pod, "failed", hasFailed); s.Message != "too big" || len(rt.Sandboxes()) != 0 {
		t.Errorf("status %+v, sandboxes %v", s, rt.Sandboxes())
	}
}

func TestANodeUnderPressureRefusesPods(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	b.m.d.Node.Pressure = func() []corev1.NodeConditionType { return []corev1.NodeConditionType{corev1.NodeDiskPressure} }
	pod := testPod("new", corev1.RestartPolicyAlways)
	b.m.Update(pod)
	if s := b.until(pod, "refused", hasFailed); s.Reason != "Evicted" || s.Message != "Pod was rejected: The node had condition: [DiskPressure]. " {
		t.Errorf("%q, %q", s.Reason, s.Message)
	}
}
