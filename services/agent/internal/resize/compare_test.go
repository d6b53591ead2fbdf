package resize

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/agent/internal/launch"
	"kubus.dev/services/agent/internal/runtime"
)

// has reads "cpu=100m mem=64Mi" as a list.
func has(text string) corev1.ResourceList {
	names := map[string]corev1.ResourceName{"cpu": corev1.ResourceCPU, "mem": corev1.ResourceMemory}
	var out corev1.ResourceList
	for f := range strings.FieldsSeq(text) {
		name, q, _ := strings.Cut(f, "=")
		put(&out, names[name], resource.MustParse(q))
	}
	return out
}

func needs(requests, limits string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: has(requests), Limits: has(limits)}
}

type sized struct {
	name string
	corev1.ResourceRequirements
	policies []corev1.ContainerResizePolicy
}

func podOf(list ...sized) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 2}}
	for _, s := range list {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: s.name, Resources: s.ResourceRequirements, ResizePolicy: s.policies})
	}
	return pod
}

// runs is what runs of a pod that has all that its spec says.
func runs(pod *corev1.Pod) (runtime.Resources, map[string]Container) {
	out := map[string]Container{}
	for _, c := range containers(pod) {
		set := Effective(pod, c)
		out[c.Name] = Container{Resources: launch.Resources(pod, c, 0), Set: &set}
	}
	return launch.PodResources(pod, 100), out
}

// show writes steps as "who cpu shares/quota memory MiB", the way they are read below.
func show(c Changes) []string {
	var out []string
	for _, s := range c.Steps {
		who := s.Container
		if who == "" {
			who = "pod"
		}
		out = append(out, fmt.Sprintf("%s cpu %d/%d mem %d", who, s.Resources.CPUShares, s.Resources.CPUQuota, s.Resources.MemoryLimit>>20))
	}
	for _, l := range c.Lower {
		out = append(out, fmt.Sprintf("below %s %d", l.Container, l.Limit>>20))
	}
	return out
}

func restarts(names ...corev1.ResourceName) []corev1.ContainerResizePolicy {
	out := []corev1.ContainerResizePolicy{}
	for _, n := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		p := corev1.ContainerResizePolicy{ResourceName: n, RestartPolicy: corev1.NotRequired}
		for _, r := range names {
			if r == n {
				p.RestartPolicy = corev1.RestartContainer
			}
		}
		out = append(out, p)
	}
	return out
}

func TestCompare(t *testing.T) {
	t.Parallel()
	full := func(name, cpu, mem string) sized {
		return sized{name: name, ResourceRequirements: needs("cpu="+cpu+" mem="+mem, "cpu="+cpu+" mem="+mem)}
	}
	with := func(s sized, names ...corev1.ResourceName) sized {
		s.policies = restarts(names...)
		return s
	}
	whole := func(pod *corev1.Pod, r corev1.ResourceRequirements) *corev1.Pod {
		pod.Spec.Resources, pod.Status.QOSClass = &r, corev1.PodQOSGuaranteed
		return pod
	}
	for name, c := range map[string]struct {
		from, to *corev1.Pod
		restart  []string
		steps    []string
		met      bool
	}{
		"what has what it is granted is left alone": {
			from: podOf(full("a", "100m", "64Mi")), to: podOf(full("a", "100m", "64Mi")), met: true},
		"the same amount written otherwise is the same": {
			from: podOf(full("a", "1", "1Gi")), to: podOf(full("a", "1000m", "1024Mi")), met: true},
		"growing, the pod's group comes first": {
			from: podOf(full("a", "100m", "64Mi")), to: podOf(full("a", "200m", "128Mi")),
			steps: []string{"pod cpu 102/10000 mem 128", "a cpu 102/10000 mem 128", "pod cpu 204/20000 mem 128", "a cpu 204/20000 mem 128"}},
		"shrinking, it comes last": {
			from: podOf(full("a", "200m", "128Mi")), to: podOf(full("a", "100m", "64Mi")),
			steps: []string{"a cpu 204/20000 mem 64", "pod cpu 204/20000 mem 64", "a cpu 102/10000 mem 64", "pod cpu 102/10000 mem 64",
				"below  64", "below a 64"}},
		"each resource goes its own way": {
			from: podOf(full("a", "100m", "128Mi")), to: podOf(full("a", "200m", "64Mi")),
			steps: []string{"a cpu 102/10000 mem 64", "pod cpu 102/10000 mem 64", "pod cpu 204/20000 mem 64", "a cpu 204/20000 mem 64",
				"below  64", "below a 64"}},
		"a container that gets less comes before one that gets more": {
			from:  podOf(full("a", "100m", "64Mi"), full("b", "200m", "64Mi")),
			to:    podOf(full("a", "200m", "64Mi"), full("b", "100m", "64Mi")),
			steps: []string{"b cpu 102/10000 mem 64", "a cpu 204/20000 mem 64"}},
		"a pod's group whose containers are not all limited has shares alone": {
			from: podOf(sized{name: "a", ResourceRequirements: needs("cpu=20m", "")}, sized{name: "b", ResourceRequirements: needs("mem=35Mi", "")}),
			to:   podOf(sized{name: "a", ResourceRequirements: needs("cpu=25m", "cpu=35m")}, sized{name: "b", ResourceRequirements: needs("mem=30Mi", "mem=50Mi")}),
			steps: []string{"b cpu 2/0 mem 50", "pod cpu 25/0 mem 0", "a cpu 25/3500 mem 0",
				"below b 50"}},
		"another memory request is noted without a change of the group": {
			from:  podOf(sized{name: "a", ResourceRequirements: needs("mem=35Mi", "")}),
			to:    podOf(sized{name: "a", ResourceRequirements: needs("mem=40Mi", "")}),
			steps: []string{"a cpu 2/0 mem 0"}},
		"so are amounts that the kernel does not tell apart": {
			from:  podOf(sized{name: "a", ResourceRequirements: needs("cpu=2m", "cpu=10m")}),
			to:    podOf(sized{name: "a", ResourceRequirements: needs("cpu=1m", "cpu=5m")}),
			steps: []string{"a cpu 2/1000 mem 0"}},
		"a policy that asks for a restart gets one": {
			from: podOf(with(full("a", "100m", "64Mi"), corev1.ResourceMemory)), to: podOf(with(full("a", "100m", "128Mi"), corev1.ResourceMemory)),
			restart: []string{"a"}},
		"for the resource that changes only": {
			from: podOf(with(full("a", "100m", "64Mi"), corev1.ResourceMemory)), to: podOf(with(full("a", "200m", "64Mi"), corev1.ResourceMemory)),
			steps: []string{"pod cpu 204/20000 mem 64", "a cpu 204/20000 mem 64"}},
		"no step is taken while one must restart": {
			from:    podOf(with(full("a", "100m", "64Mi"), corev1.ResourceCPU), full("b", "100m", "64Mi")),
			to:      podOf(with(full("a", "200m", "64Mi"), corev1.ResourceCPU), full("b", "200m", "64Mi")),
			restart: []string{"a"}},
		"the pod's own limit is that of containers without one": {
			from:  whole(podOf(sized{name: "a"}), needs("cpu=100m mem=64Mi", "cpu=100m mem=64Mi")),
			to:    whole(podOf(sized{name: "a"}), needs("cpu=100m mem=128Mi", "cpu=100m mem=128Mi")),
			steps: []string{"pod cpu 102/10000 mem 128", "a cpu 102/10000 mem 128"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group, running := runs(c.from)
			got := Compare(c.to, group, running)
			if steps := show(got); !reflect.DeepEqual(steps, c.steps) || !reflect.DeepEqual(got.Restart, c.restart) || got.Unmet == c.met {
				t.Errorf("steps %q, restart %q, unmet %v\nwant  %q, restart %q", steps, got.Restart, got.Unmet, c.steps, c.restart)
			}
			if len(c.restart) > 0 {
				return
			}
			for i := range got.Steps { // an agent may end after each of them
				group, running := runs(c.from)
				for _, s := range got.Steps[:i+1] {
					take(s, &group, running)
				}
				for _, s := range Compare(c.to, group, running).Steps {
					take(s, &group, running)
				}
				if wantGroup, want := runs(c.to); group != wantGroup || !equality.Semantic.DeepEqual(running, want) {
					t.Errorf("interrupted after %d steps: %+v %+v\nwant %+v %+v", i+1, group, running, wantGroup, want)
				}
			}
		})
	}
}

func take(s Step, group *runtime.Resources, running map[string]Container) {
	if s.Container == "" {
		*group = s.Resources
		return
	}
	running[s.Container] = Container{Resources: s.Resources, Set: &s.Set}
}

func TestGroupsAreNeverSmallerThanWhatIsInThem(t *testing.T) {
	t.Parallel()
	sizes := []string{"100m", "200m", "300m"}
	memory := []string{"64Mi", "128Mi", "256Mi"}
	var pods []*corev1.Pod
	for i := range 81 {
		pods = append(pods, podOf(
			sized{name: "a", ResourceRequirements: needs("", "cpu="+sizes[i%3]+" mem="+memory[i/3%3])},
			sized{name: "b", ResourceRequirements: needs("", "cpu="+sizes[i/9%3]+" mem="+memory[i/27])}))
	}
	for _, from := range pods {
		for _, to := range pods {
			group, running := runs(from)
			for _, s := range Compare(to, group, running).Steps {
				take(s, &group, running)
				for name, c := range running {
					if c.Resources.MemoryLimit > group.MemoryLimit || c.Resources.CPUQuota > group.CPUQuota {
						t.Fatalf("%s has %+v in %+v\nfrom %v\nto %v", name, c.Resources, group, from.Spec.Containers, to.Spec.Containers)
					}
				}
			}
			if wantGroup, want := runs(to); group != wantGroup || !equality.Semantic.DeepEqual(running, want) {
				t.Fatalf("ends with %+v %+v, want %+v %+v", group, running, wantGroup, want)
			}
		}
	}
}

func TestAContainerOfAnOlderAgentIsBroughtUpWithoutARestart(t *testing.T) {
	t.Parallel()
	to := podOf(sized{name: "a", ResourceRequirements: needs("", "mem=64Mi"), policies: restarts(corev1.ResourceMemory)})
	group, running := runs(podOf(sized{name: "a", ResourceRequirements: needs("", "mem=32Mi")}))
	running["a"] = Container{Resources: running["a"].Resources}
	if got := Compare(to, group, running); len(got.Restart) > 0 || len(got.Steps) != 2 {
		t.Errorf("got %+v", got)
	}
}
