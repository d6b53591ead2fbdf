package status

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/runtime"
)

func TestSilentShimLeavesTheStatusAsItWas(t *testing.T) {
	t.Parallel()
	yes := true
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	before := corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c", ContainerID: IDPrefix + "1", RestartCount: 3, Ready: true,
		Started: &yes, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}
	for name, tt := range map[string]struct {
		id    string
		ready bool
	}{
		"the container that it was of": {"1", true},
		"another one":                  {"2", false},
	} {
		got := Generate(Input{Pod: pod, Previous: &before, Now: time.Now(), SandboxReady: true, Containers: map[string]Container{
			"c": {Newest: &Record{ContainerStatus: runtime.ContainerStatus{ID: tt.id, State: runtime.ContainerUnknown}}, Started: true}}})
		s := got.ContainerStatuses[0]
		if s.Ready != tt.ready || tt.ready && (s.State.Running == nil || s.RestartCount != 3) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
