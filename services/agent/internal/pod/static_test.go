package pod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/static"
)

func TestAStaticPodThatHasEndedMayComeBack(t *testing.T) {
	t.Parallel()
	rt := newFakeRuntime()
	b := newBench(t, rt, t.TempDir())
	over := make(chan *corev1.Pod, 1)
	b.m.d.Over = func(p *corev1.Pod) { over <- p }
	pod := testPod("s", corev1.RestartPolicyAlways)
	pod.Annotations = map[string]string{static.SourceAnnotation: "file"}
	for n := 1; n <= 2; n++ {
		b.m.Update(pod)
		b.until(pod, "ready", running)
		b.m.Update(deleted(pod))
		if p := <-over; p.UID != pod.UID {
			t.Errorf("the end of %s was told", p.UID)
		}
		if made := rt.called("sandbox s"); made != n || len(rt.Sandboxes()) != 0 {
			t.Errorf("after round %d there were %d sandboxes, and are %v", n, made, rt.Sandboxes())
		}
		b.rec.mu.Lock()
		delete(b.rec.status, pod.UID)
		b.rec.mu.Unlock()
	}
}
