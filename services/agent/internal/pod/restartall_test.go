package pod

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/status"
)

// restartingPod has an init container, a sidecar and two containers; what ends with 42 makes all start anew.
func restartingPod(name string, source ...string) *corev1.Pod {
	pod := testPod(name, corev1.RestartPolicyNever)
	never, always := corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyAlways
	pod.Spec.InitContainers = []corev1.Container{
		{Name: "init", Image: "img", Command: []string{"exit", "0"}},
		{Name: "side", Image: "img", RestartPolicy: &always},
	}
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
		Name: "source", Image: "img", Command: source, RestartPolicy: &never,
		RestartPolicyRules: []corev1.ContainerRestartRule{{
			Action:    corev1.ContainerRestartRuleActionRestartAllContainers,
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
		}},
	})
	return pod
}

func restartedAll(s corev1.PodStatus, gone bool) bool {
	all := slices.Concat(s.InitContainerStatuses, s.ContainerStatuses)
	return running(s, gone) && !status.RestartingAll(&s) && len(all) == 4 && !slices.ContainsFunc(all, func(c corev1.ContainerStatus) bool { return c.RestartCount != 1 })
}

func TestAllContainersStartAnewWhenOneAsksForIt(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	pod := restartingPod("anew")
	b.m.Update(pod)
	b.until(pod, "running", running)
	all := b.rt.Containers(b.rt.Sandboxes()[0].ID)
	b.rt.end(all[slices.IndexFunc(all, func(c runtime.ContainerStatus) bool { return c.Name == "source" })].ID, 42)
	s := b.until(pod, "all started anew", restartedAll)
	for _, c := range slices.Concat(s.InitContainerStatuses, s.ContainerStatuses) {
		if last := c.LastTerminationState.Terminated; last == nil || c.Name == "source" && last.ExitCode != 42 {
			t.Errorf("%s ended before as %+v", c.Name, last)
		}
	}
	if n := b.rt.called("sandbox anew"); n != 1 {
		t.Errorf("%d sandboxes were made", n)
	}
	if g := b.rt.graceOfStops(); slices.ContainsFunc(g, func(d time.Duration) bool { return d != 0 }) {
		t.Errorf("what started anew was given %v to end", g)
	}
}

// An agent that ends while containers are removed leaves the pod neither failed nor half.
func TestARestartOfAllSurvivesTheAgent(t *testing.T) {
	t.Parallel()
	for _, left := range []int{0, 1, 2, 3, 4} {
		dir, rt := t.TempDir(), newFakeRuntime()
		first := newBench(t, rt, dir)
		pod := restartingPod("anew", "exit-first", "42")
		rt.mu.Lock()
		rt.removeUpTo = left
		rt.mu.Unlock()
		first.m.Update(pod)
		first.until(pod, "restarting", func(s corev1.PodStatus, gone bool) bool { return status.RestartingAll(&s) || restartedAll(s, gone) })
		first.stop()

		rt.mu.Lock()
		rt.removeUpTo = -1
		rt.mu.Unlock()
		second := newBench(t, rt, dir)
		pods, statuses, err := second.store.Pods()
		if err != nil || len(pods) != 1 {
			t.Fatalf("kept pods %v, %v", pods, err)
		}
		second.m.Adopt(pods[0], statuses[pods[0].UID])
		second.m.Update(pod)
		second.m.Synced()
		second.until(pod, "all started anew", restartedAll)
	}
}

func TestTheTimeToEndIsWhatHooksLeaveOfTheGrace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		grace, hook    time.Duration
		hooked, atOnce bool
		want           time.Duration
	}{
		"the grace":                         {grace: 30 * time.Second, want: 30 * time.Second},
		"a short one is kept to the second": {grace: time.Second, want: time.Second},
		"less what a hook took":             {grace: 30 * time.Second, hook: 10 * time.Second, hooked: true, want: 20 * time.Second},
		"but some time in any case":         {grace: 30 * time.Second, hook: 30 * time.Second, hooked: true, want: leastGrace},
		"none is a little":                  {want: leastGrace},
		"at once":                           {grace: 0, atOnce: true},
	} {
		if got := killAfter(c.grace, c.hook, c.hooked, c.atOnce); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
