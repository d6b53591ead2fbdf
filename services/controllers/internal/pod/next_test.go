package pod

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNextAvailable(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	readyFor := func(ages ...time.Duration) (out []*corev1.Pod) {
		for _, age := range ages {
			c := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-age))}
			out = append(out, &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{c}}})
		}
		return out
	}
	for name, c := range map[string]struct {
		pods []*corev1.Pod
		min  int32
		want time.Duration
	}{
		"none is ready":               {[]*corev1.Pod{{}}, 30, 0},
		"the next of several":         {readyFor(time.Minute, 10*time.Second, 20*time.Second), 30, 10 * time.Second},
		"all are available already":   {readyFor(time.Minute, 30*time.Second), 30, 0},
		"without minReadySeconds all": {readyFor(0), 0, 0},
	} {
		if got := NextAvailable(c.pods, c.min, now); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
