package job

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestBackoffDoublesWithFailuresInARow(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{
		0: 0, 1: 10 * time.Second, 2: 20 * time.Second, 3: 40 * time.Second, 6: 320 * time.Second, 7: 600 * time.Second, 40: 600 * time.Second,
	} {
		if got := backoffWait(failures, epoch, epoch); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
	if got := backoffWait(2, epoch, epoch.Add(15*time.Second)); got != 5*time.Second {
		t.Errorf("15 s later: %v, want 5s", got)
	}
}

func TestAFailureCountsOnceHoweverOftenItIsSeen(t *testing.T) {
	t.Parallel()
	first, second := pod("a", ended(1, 10)), pod("b", ended(1, 20))
	b := backoff{}.with(nil, list(first))
	b = b.with(nil, list(first, second))
	b = b.with(nil, list(second))
	if b.failures != 2 || !b.last.Equal(at(20)) {
		t.Errorf("%d failures, the last at %v", b.failures, b.last)
	}
	b = b.with(list(pod("c", ended(0, 30))), list(second))
	if b.failures != 0 {
		t.Errorf("%d failures after a success", b.failures)
	}
	b = backoff{}.with(list(pod("c", ended(0, 15))), list(first, second))
	if b.failures != 1 || !b.last.Equal(at(20)) {
		t.Errorf("%d failures since a success in between", b.failures)
	}
}

func TestWhenAPodEnded(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	terminated := func(name string, second int) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(at(second))}}}
	}
	notReady := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(at(7))}
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		want   int
	}{
		"with its last container": {func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{terminated("x", 5), terminated("y", 9)}
		}, 9},
		"or its last sidecar; other init containers do not matter": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init"}, {Name: "side", RestartPolicy: &always}}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{terminated("x", 5)}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "init"}, terminated("side", 6)}
		}, 6},
		"when it was no longer ready, if a container did not tell": {func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{terminated("x", 5), {Name: "y"}}
			p.Status.Conditions = []corev1.PodCondition{notReady}
		}, 7},
		"when its deletion was asked for": {func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = ptr.To(metav1.NewTime(at(40))), ptr.To(int64(30))
		}, 10},
		"when it was made, if nothing else is known": {func(*corev1.Pod) {}, 0},
	} {
		p := pod("p")
		c.change(p)
		if got := finished(p); !got.Equal(at(c.want)) {
			t.Errorf("%s: %v, want %v", name, got, at(c.want))
		}
	}
}
