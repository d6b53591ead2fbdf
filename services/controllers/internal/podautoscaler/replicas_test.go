package podautoscaler

import (
	"fmt"
	"math"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// aPod is a pod of a test: what it uses, in percent of what it requests (1 CPU), and how it
// is.
type aPod struct {
	uses    int64 // -1: no sample
	phase   corev1.PodPhase
	unready bool
	going   bool
	started time.Duration // ago; 0: an hour
	since   time.Duration // its readiness, ago; 0: since it started
	sampled time.Duration // ago, over a window of a second
}

func ready(uses ...int64) (pods []aPod) {
	for _, u := range uses {
		pods = append(pods, aPod{uses: u})
	}
	return pods
}

func object(i int, a aPod) *corev1.Pod {
	if a.phase == "" {
		a.phase = corev1.PodRunning
	}
	if a.started == 0 {
		a.started = time.Hour
	}
	if a.since == 0 {
		a.since = a.started
	}
	p := &corev1.Pod{}
	p.Name, p.Namespace, p.Labels = fmt.Sprintf("p%d", i), "ns", map[string]string{"app": "web"}
	one := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1")}
	p.Spec.Containers = []corev1.Container{{Name: "app", Resources: corev1.ResourceRequirements{Requests: one}}}
	p.Status.Phase, p.Status.StartTime = a.phase, &metav1.Time{Time: now.Add(-a.started)}
	status := corev1.ConditionTrue
	if a.unready {
		status = corev1.ConditionFalse
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(now.Add(-a.since))}}
	if a.going {
		p.DeletionTimestamp = &metav1.Time{Time: now}
	}
	return p
}

func world(pods []aPod) (objects []*corev1.Pod, of samples) {
	of = samples{}
	for i, a := range pods {
		p := object(i, a)
		objects = append(objects, p)
		if a.uses >= 0 {
			of[p.Name] = sample{now.Add(-a.sampled), time.Second, a.uses * 10}
		}
	}
	return objects, of
}

// Targets are 50 % of the request, so a pod that uses 100 is worth two.
func TestReplicasByUtilization(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		pods    []aPod
		current int32 // 0: as many as pods
		metric  corev1.ResourceName
		want    int32
		percent int32
		err     string
	}{
		{name: "as wanted", pods: ready(50, 50, 50), want: 3, percent: 50},
		{name: "within the tolerance of a tenth", pods: ready(55, 55, 55), want: 3, percent: 55},
		{name: "just beyond it", pods: ready(56, 56, 56), want: 4, percent: 56},
		{name: "load doubles, and so do replicas", pods: ready(100, 100), want: 4, percent: 100},
		{name: "a part of a pod is a pod", pods: ready(60, 60, 60), want: 4, percent: 60},
		{name: "less load", pods: ready(10, 10, 10, 10), want: 1, percent: 10},
		{name: "none at all", pods: ready(0, 0), want: 0, percent: 0},
		{name: "uneven load counts as its average", pods: ready(100, 0, 50), want: 3, percent: 50},
		{name: "growing: a pod without a sample uses nothing", pods: ready(90, 90, -1), want: 4, percent: 90},
		{name: "growing: so many without a sample that it would shrink", pods: ready(60, -1, -1, -1), want: 4, percent: 60},
		{name: "shrinking: a pod without a sample uses all it requests", pods: ready(10, 10, 10, -1), want: 3, percent: 10},
		{name: "shrinking: until that would make it grow", pods: ready(10, -1, -1), want: 3, percent: 10},
		{name: "as wanted, one without a sample changes nothing", pods: ready(50, 50, -1), want: 3, percent: 50},
		{name: "growing: one that is pending uses nothing", pods: append(ready(90, 90), aPod{uses: -1, phase: corev1.PodPending}), want: 4, percent: 90},
		{name: "shrinking: one that is pending does not count", pods: append(ready(20, 20), aPod{uses: -1, phase: corev1.PodPending}), want: 1, percent: 20},
		{name: "one about to go does not count", pods: append(ready(50, 50), aPod{uses: 900, going: true}), want: 3, percent: 50},
		{name: "nor one that failed", pods: append(ready(100, 100), aPod{uses: 900, phase: corev1.PodFailed}), want: 4, percent: 100},
		{name: "CPU of one that starts says nothing", pods: append(ready(50, 50), aPod{uses: 900, started: time.Minute, unready: true}), want: 3, percent: 50},
		{name: "nor of one that was not ready all the window", pods: append(ready(50, 50), aPod{uses: 900, started: time.Minute, since: time.Second / 2}), want: 3, percent: 50},
		{name: "ready for longer, it counts", pods: append(ready(50, 50), aPod{uses: 200, started: time.Minute, since: 10 * time.Second}), want: 6, percent: 100},
		{name: "one that was never ready says nothing later either", pods: append(ready(50, 50), aPod{uses: 900, started: time.Hour, unready: true, since: time.Hour - time.Second}), want: 3, percent: 50},
		{name: "one that was, and is no more, counts", pods: append(ready(50, 50), aPod{uses: 200, started: time.Hour, unready: true, since: time.Minute}), want: 6, percent: 100},
		{name: "memory counts from the start", metric: corev1.ResourceMemory, pods: append(ready(50, 50), aPod{uses: 200, started: time.Second, unready: true}), want: 6, percent: 100},
		{name: "no pods", pods: nil, current: 3, err: "no pods returned by selector while calculating replica count"},
		{name: "none that counts", pods: []aPod{{uses: 50, started: time.Second, unready: true}}, err: "did not receive metrics for targeted pods (pods might be unready)"},
		{name: "no samples", pods: ready(-1, -1), err: "did not receive metrics for targeted pods (pods might be unready)"},
		{name: "what is asked for counts, not only the pods there are", pods: ready(50), current: 5, want: 5, percent: 50},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			pods, of := world(tc.pods)
			if tc.current == 0 {
				tc.current = int32(len(pods))
			}
			if tc.metric == "" {
				tc.metric = corev1.ResourceCPU
			}
			before := len(of)
			got, m, err := byPods(target{spec: tc.current, pods: pods, tolerances: tolerances{0.1, 0.1}}, of, tc.metric, toUtilization(tc.metric, "", 50), DefaultSettings, now)
			if text := fmt.Sprint(err); tc.err != "" && text != tc.err || tc.err == "" && err != nil {
				t.Fatalf("got error %v, want %q", err, tc.err)
			}
			if err == nil && (got != tc.want || m.percentage != tc.percent || m.average != int64(tc.percent)*10) {
				t.Errorf("got %d at %+v, want %d at %d%%", got, m, tc.want, tc.percent)
			}
			if len(of) != before {
				t.Error("the samples were changed, which other metrics read too")
			}
		})
	}
}

func TestReplicasByAverageValue(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		pods []aPod
		want int32
	}{
		{"twice as much as wanted", ready(100, 100), 4},
		{"half as much", ready(25, 25, 25, 25), 2},
		{"shrinking: a pod without a sample has what is wanted", ready(10, 10, -1), 2},
		{"growing: none", ready(100, -1), 2},
	} {
		pods, of := world(tc.pods)
		got, _, err := byPods(target{spec: int32(len(pods)), pods: pods, tolerances: tolerances{0.1, 0.1}}, of, "", toValue(500), DefaultSettings, now)
		if err != nil || got != tc.want {
			t.Errorf("%s: got %d, %v; want %d", tc.name, got, err, tc.want)
		}
	}
}

func TestReplicasByAValueOfTheWhole(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		spec        int32
		pods        []aPod
		value, want int64
		replicas    int32
		err         bool
	}{
		{"as wanted", 2, ready(0, 0), 100, 100, 2, false},
		{"twice as much, by the pods that are ready", 3, append(ready(0, 0), aPod{unready: true}), 200, 100, 4, false},
		{"from nothing, the ratio itself", 0, nil, 250, 100, 3, false},
		{"from nothing, for nothing", 0, nil, 0, 100, 0, false},
		{"without pods nothing is known", 2, nil, 200, 100, 0, true},
		{"more than there can be", 1, ready(0), math.MaxInt64, 1, math.MaxInt32, false},
	} {
		pods, _ := world(tc.pods)
		got, err := byValue(target{spec: tc.spec, pods: pods, tolerances: tolerances{0.1, 0.1}}, tc.value, tc.want)
		if got != tc.replicas || (err != nil) != tc.err {
			t.Errorf("%s: got %d, %v; want %d", tc.name, got, err, tc.replicas)
		}
	}
}

func TestReplicasThatShareAValue(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		status      int32
		value, want int64
		replicas    int32
		share       int64
	}{
		{"as wanted", 2, 200, 100, 2, 100},
		{"twice as much", 2, 400, 100, 4, 200},
		{"a part more is one more", 2, 250, 100, 3, 125},
		{"nothing", 2, 0, 100, 0, 0},
		{"from nothing", 0, 250, 100, 3, 250},
		{"too much to count", 2, math.MaxInt64, 1, math.MaxInt32, math.MaxInt64},
	} {
		replicas, share := byShare(target{status: tc.status, tolerances: tolerances{0.1, 0.1}}, tc.value, tc.want)
		if replicas != tc.replicas || share != tc.share {
			t.Errorf("%s: got %d with %d each, want %d with %d", tc.name, replicas, share, tc.replicas, tc.share)
		}
	}
	if got := total([]int64{math.MaxInt64 - 1, 5, 7}); got != math.MaxInt64 {
		t.Errorf("values that overflow add up to %d", got)
	}
}

func TestWhatPodsRequest(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	container := func(name, cpu string) corev1.Container {
		c := corev1.Container{Name: name}
		if cpu != "" {
			c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
		}
		return c
	}
	sidecar := container("sidecar", "300m")
	sidecar.RestartPolicy = &always
	for _, tc := range []struct {
		name      string
		spec      corev1.PodSpec
		container string
		want      int64
		err       string
	}{
		{"the sum of its containers", corev1.PodSpec{Containers: []corev1.Container{container("a", "100m"), container("b", "1")}}, "", 1100, ""},
		{"sidecars too, other init containers not", corev1.PodSpec{Containers: []corev1.Container{container("a", "100m")}, InitContainers: []corev1.Container{container("init", "9"), sidecar}}, "", 400, ""},
		{"one container", corev1.PodSpec{Containers: []corev1.Container{container("a", "100m"), container("b", "")}}, "a", 100, ""},
		{"one that requests nothing", corev1.PodSpec{Containers: []corev1.Container{container("a", "100m"), container("b", "")}}, "", 0, "missing request for cpu in container b of Pod p"},
		{"one that is not there", corev1.PodSpec{Containers: []corev1.Container{container("a", "100m")}}, "b", 0, "container b not found in Pod p"},
		{"what the pod as a whole requests", corev1.PodSpec{Containers: []corev1.Container{container("a", "")}, Resources: &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}}}, "", 2000, ""},
	} {
		p := &corev1.Pod{Spec: tc.spec}
		p.Name = "p"
		got, err := request(p, tc.container, corev1.ResourceCPU)
		if got != tc.want || tc.err != "" && (err == nil || err.Error() != tc.err) || tc.err == "" && err != nil {
			t.Errorf("%s: got %d, %v; want %d %s", tc.name, got, err, tc.want, tc.err)
		}
	}
}
