package pod

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// changed is the pod with another image.
func changed(pod *corev1.Pod, image string) *corev1.Pod {
	next := pod.DeepCopy()
	next.Generation++
	next.Spec.Containers[0].Image = image
	return next
}

func TestAContainerOfAnotherImageTakesTheOldOnesPlaceInOneStep(t *testing.T) {
	t.Parallel()
	rt := newFakeRuntime()
	rt.images["img2"] = true
	b := newBench(t, rt, t.TempDir())
	pod := testPod("p", corev1.RestartPolicyAlways)
	b.m.Update(pod)
	b.until(pod, "ready", running)
	b.rec.mu.Lock()
	before := len(b.rec.told[pod.UID])
	b.rec.mu.Unlock()
	b.m.Update(changed(pod, "img2"))
	s := b.until(pod, "replaced", func(s corev1.PodStatus, _ bool) bool {
		return running(s, false) && s.ContainerStatuses[0].RestartCount == 1
	})
	if c := s.ContainerStatuses[0]; c.Image != "img2" || c.LastTerminationState.Terminated == nil || s.ObservedGeneration != 2 {
		t.Errorf("status %+v", s)
	}
	b.rec.mu.Lock()
	defer b.rec.mu.Unlock()
	for _, told := range b.rec.told[pod.UID][before:] {
		if !running(told, false) {
			t.Errorf("between the two it was told %+v", told)
		}
	}
}

func TestAReplacementThatCannotStartIsTold(t *testing.T) {
	t.Parallel()
	rt := newFakeRuntime()
	b := newBench(t, rt, t.TempDir())
	pod := testPod("p", corev1.RestartPolicyAlways)
	b.m.Update(pod)
	b.until(pod, "ready", running)
	rt.mu.Lock()
	rt.pullErr = errors.New("no such image")
	rt.mu.Unlock()
	b.m.Update(changed(pod, "nowhere"))
	b.until(pod, "not ready, and why", func(s corev1.PodStatus, _ bool) bool {
		waiting := s.ContainerStatuses[0].State.Waiting
		return !running(s, false) && waiting != nil && waiting.Reason == reasonPull
	})
}
