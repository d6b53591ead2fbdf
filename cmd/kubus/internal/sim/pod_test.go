package sim

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Unix(1_700_000_000, 0)

func aPod(change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u", Labels: map[string]string{"app": "web"}, Annotations: map[string]string{}}}
	p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "web"}}
	for _, c := range change {
		c(p)
	}
	return p
}

// after lets deeds happen to the pod, a minute apart.
func did(p *Profile, deeds ...deed) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		for i, d := range deeds {
			pod.Status = after(p, pod, d, now.Add(time.Duration(i)*time.Minute), "198.18.0.1", "100.64.0.1")
		}
	}
}

func annotated(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations[key] = value }
}

func policy(r corev1.RestartPolicy) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.RestartPolicy = r }
}

func deleted(grace int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		at := metav1.NewTime(now)
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
	}
}

func TestWhatHappensToAPodAndWhen(t *testing.T) {
	p := Default()
	flaky := Default()
	if err := flaky.parse([]byte(`failures: [{selector: app=web, after: 3s, exitCode: 7}]`)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		profile *Profile
		pod     *corev1.Pod
		want    deed
		in      time.Duration
	}{
		{"a bound pod starts after the delay", &p, aPod(), start, time.Second},
		{"a service runs on", &p, aPod(did(&p, start)), nothing, 0},
		{"a job's pod ends", &p, aPod(policy(corev1.RestartPolicyNever), did(&p, start)), succeed, 10 * time.Second},
		{"how long it runs can be said", &p, aPod(annotated(RunForAnnotation, "3m"), did(&p, start)), succeed, 3 * time.Minute},
		{"what has ended stays so", &p, aPod(policy(corev1.RestartPolicyNever), did(&p, start, succeed)), nothing, 0},
		{"one fails on demand", &p, aPod(annotated(FailAfterAnnotation, "2s"), did(&p, start)), fail, 2 * time.Second},
		{"some fail by the profile", &flaky, aPod(did(&flaky, start)), fail, 3 * time.Second},
		{"a failure comes before the end", &flaky, aPod(policy(corev1.RestartPolicyNever), did(&flaky, start)), fail, 3 * time.Second},
		{"what is restarted starts again", &flaky, aPod(did(&flaky, start, fail)), start, time.Second},
		{"what is not has failed", &flaky, aPod(policy(corev1.RestartPolicyNever), did(&flaky, start, fail)), nothing, 0},
		{"a deleted pod goes", &p, aPod(did(&p, start), deleted(30)), remove, 500 * time.Millisecond},
		{"at once when it is told so", &p, aPod(did(&p, start), deleted(0)), remove, 0},
	} {
		got, at := next(tt.profile, tt.pod, now)
		if got != tt.want || got != nothing && !at.Equal(now.Add(tt.in)) {
			t.Errorf("%s: deed %d in %s, want %d in %s", tt.name, got, at.Sub(now), tt.want, tt.in)
		}
	}
}

func TestARestartIsCounted(t *testing.T) {
	p := Default()
	pod := aPod(annotated(FailCodeAnnotation, "9"), did(&p, start, fail, start))
	c := pod.Status.ContainerStatuses[0]
	if c.RestartCount != 1 || !c.Ready || c.State.Running == nil || c.LastTerminationState.Terminated.ExitCode != 9 {
		t.Errorf("container %+v", c)
	}
	if !ready(pod) || pod.Status.PodIP != "100.64.0.1" || !pod.Status.StartTime.Time.Equal(now) {
		t.Errorf("status %+v", pod.Status)
	}
}

func TestAProfileTellsWhatIsWrong(t *testing.T) {
	for _, text := range []string{"nodes: []", "startDelay: -1s", "failures: [{selector: 'a in'}]", "failures: [{percent: 101}]", "speed: 3"} {
		p := Default()
		if p.parse([]byte(text)) == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
