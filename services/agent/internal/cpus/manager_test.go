package cpus

import (
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/cpuset"
)

func asking(name string, cpus ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	for i, n := range cpus {
		list := corev1.ResourceList{"cpu": resource.MustParse(n), "memory": resource.MustParse("1Mi")}
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: string(rune('a' + i)), Resources: corev1.ResourceRequirements{Requests: list, Limits: list}})
	}
	return pod
}

type bench struct {
	*Manager
	pods []*corev1.Pod
}

func open(t *testing.T, file string, topology Topology) *bench {
	t.Helper()
	b := &bench{}
	m, err := Open(Options{Topology: topology, Reserved: cpuset.New(0), File: file, Pods: func() []*corev1.Pod { return b.pods }})
	if err != nil {
		t.Fatal(err)
	}
	b.Manager = m
	return b
}

func (b *bench) begin(pod *corev1.Pod) error {
	b.pods = append(b.pods, pod)
	return b.Allocate(pod)
}

func TestWhoHasCPUsOfItsOwn(t *testing.T) {
	t.Parallel()
	burstable := asking("b", "2")
	burstable.Spec.Containers[0].Resources.Limits = nil
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want int
	}{
		"guaranteed and whole":     {asking("p", "2"), 2},
		"whole in other words":     {asking("p", "2000m"), 2},
		"guaranteed, and a half":   {asking("p", "1500m"), 0},
		"less than one":            {asking("p", "100m"), 0},
		"whole and not guaranteed": {burstable, 0},
	} {
		if got := Whole(c.pod, &c.pod.Spec.Containers[0]); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestNoCPUIsWithTwoContainers(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "cpus.json")
	b := open(t, file, machine(1, 1, 6, 1))
	shares := asking("shares", "500m")
	first, second := asking("first", "2", "500m"), asking("second", "1")
	for _, pod := range []*corev1.Pod{shares, first, second} {
		if err := b.begin(pod); err != nil {
			t.Fatal(err)
		}
	}
	check := func(b *bench) {
		t.Helper()
		for _, c := range []struct{ pod, container, want string }{{"first", "a", "1-2"}, {"first", "b", "0,4-5"}, {"second", "a", "3"}, {"shares", "a", "0,4-5"}} {
			if got := b.CPUs(types.UID(c.pod), c.container); got != c.want {
				t.Errorf("%s of %s runs on %s, want %s", c.container, c.pod, got, c.want)
			}
		}
	}
	check(b)
	if err := b.Allocate(first); err != nil {
		t.Error(err)
	}
	check(b)
	if err := b.begin(asking("third", "1", "2")); err == nil || err.Error() != "not enough cpus available to satisfy request: requested=2, available=1" {
		t.Errorf("%v", err)
	}
	check(b) // what its first container would have had too

	next := open(t, file, machine(1, 1, 6, 1))
	next.pods = b.pods[:3]
	check(next)
	next.pods = []*corev1.Pod{shares, second} // the first has ended
	if err := next.Reconcile(); err != nil {
		t.Error(err)
	}
	if got := next.CPUs("shares", "a"); got != "0-2,4-5" {
		t.Errorf("shared are %s", got)
	}
	if err := next.begin(asking("fourth", "4")); err != nil || next.CPUs("fourth", "a") != "1-2,4-5" {
		t.Errorf("%v: %s", err, next.CPUs("fourth", "a"))
	}
	_, err := Open(Options{Topology: machine(1, 1, 4, 1), File: file})
	if err == nil || !strings.Contains(err.Error(), "drain the node and remove the file") {
		t.Errorf("on another machine: %v", err)
	}
	if _, err := Open(Options{Topology: machine(1, 1, 4, 1), Reserved: cpuset.New(9), File: file}); err == nil || !strings.Contains(err.Error(), "CPUs 9 are reserved, and the machine has 0-3") {
		t.Errorf("reserved ones that are not there: %v", err)
	}
}

func TestInitContainersGiveTheirCPUsOn(t *testing.T) {
	t.Parallel()
	b := open(t, filepath.Join(t.TempDir(), "cpus.json"), machine(1, 1, 6, 1))
	pod := asking("pod", "2")
	always := corev1.ContainerRestartPolicyAlways
	init := asking("", "1", "1").Spec.Containers
	init[0].Name, init[1].Name, init[1].RestartPolicy = "init", "sidecar", &always
	pod.Spec.InitContainers = init
	if !b.Wants(pod) || b.Wants(asking("x", "1500m")) {
		t.Error("it does not know who wants CPUs")
	}
	if err := b.begin(pod); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"init": "1", "sidecar": "1", "a": "2-3"} {
		if got := b.CPUs(pod.UID, name); got != want {
			t.Errorf("%s runs on %s, want %s", name, got, want)
		}
	}
}
