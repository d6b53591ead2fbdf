package pod

import (
	"reflect"
	"sort"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

var (
	now    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	always = corev1.ContainerRestartPolicyAlways
)

func spec(policy corev1.RestartPolicy, init []corev1.Container, names ...string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: policy, InitContainers: init}}
	for _, n := range names {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n})
	}
	return p
}

func inits(names ...string) []corev1.Container {
	var out []corev1.Container
	for _, n := range names {
		c := corev1.Container{Name: n}
		if n[0] == 's' {
			c.RestartPolicy = &always
		}
		out = append(out, c)
	}
	return out
}

type things = map[string]Container

var (
	ready    = Thing{Stage: Ready}
	up       = Container{Stage: Ready, Started: true}
	starting = Container{Stage: Ready}
	busy     = Container{Stage: Busy}
	done     = Container{Stage: Ended}
	failed   = Container{Stage: Ended, ExitCode: 1}
)

func TestDecide(t *testing.T) {
	t.Parallel()
	later := now.Add(time.Second)
	deadline := int64(10)
	expiring := spec(corev1.RestartPolicyAlways, nil, "a")
	expiring.Spec.ActiveDeadlineSeconds = &deadline
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		w    World
		want Plan
	}{
		"a new pod gets everything at once": {
			spec(corev1.RestartPolicyAlways, nil, "a", "b"), World{},
			Plan{MakeVolumes: true, MakeSandbox: true, Start: []string{"a", "b"}}},
		"what is being made is not made again": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: Thing{Stage: Busy}, Volumes: Thing{Stage: Busy}, Containers: things{"a": busy}},
			Plan{}},
		"a pod that runs is left alone": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"a": up}},
			Plan{}},
		"an adopted pod gets its volumes kept fresh": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: ready, Containers: things{"a": up}},
			Plan{MakeVolumes: true}},
		"volumes that fail hold up the containers": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Volumes: Thing{RetryAt: later}},
			Plan{WakeAt: later}},
		"a sandbox that fails is tried again at its time": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: Thing{RetryAt: now}, Volumes: ready},
			Plan{MakeSandbox: true, Start: []string{"a"}}},
		"init containers run one by one": {
			spec(corev1.RestartPolicyAlways, inits("i", "j"), "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"i": up}},
			Plan{}},
		"the next init container follows success": {
			spec(corev1.RestartPolicyAlways, inits("i", "j"), "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"i": done}},
			Plan{Start: []string{"j"}}},
		"containers follow the last init container": {
			spec(corev1.RestartPolicyAlways, inits("i"), "a", "b"), World{Sandbox: ready, Volumes: ready, Containers: things{"i": done}},
			Plan{Start: []string{"a", "b"}}},
		"a failed init container runs again": {
			spec(corev1.RestartPolicyAlways, inits("i"), "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"i": failed}},
			Plan{Start: []string{"i"}}},
		"a failed init container ends a pod that never restarts": {
			spec(corev1.RestartPolicyNever, inits("i"), "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"i": failed}},
			Plan{Done: true, StopSandbox: true}},
		"a sidecar that has not started holds up what follows": {
			spec(corev1.RestartPolicyAlways, inits("s", "i"), "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"s": starting}},
			Plan{}},
		"a started sidecar lets the next begin": {
			spec(corev1.RestartPolicyAlways, inits("s", "i"), "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"s": up}},
			Plan{Start: []string{"i"}}},
		"a dead sidecar of a running pod starts again and disturbs nobody": {
			spec(corev1.RestartPolicyAlways, inits("s"), "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"s": failed, "a": up}},
			Plan{Start: []string{"s"}}},
		"init containers of a running pod are over": {
			spec(corev1.RestartPolicyAlways, inits("i"), "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"a": up}},
			Plan{}},
		"a crashed container waits for its back-off": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"a": {Stage: Ended, ExitCode: 1, RetryAt: later}}},
			Plan{WakeAt: later}},
		"success ends a pod that restarts on failure": {
			spec(corev1.RestartPolicyOnFailure, nil, "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"a": done}},
			Plan{Done: true, StopSandbox: true}},
		"failure restarts it": {
			spec(corev1.RestartPolicyOnFailure, nil, "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"a": failed}},
			Plan{Start: []string{"a"}}},
		"one that still runs keeps a pod going": {
			spec(corev1.RestartPolicyNever, nil, "a", "b"), World{Sandbox: ready, Volumes: ready, Containers: things{"a": done, "b": up}},
			Plan{}},
		"an unhealthy container is stopped": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"a": {Stage: Ready, Kill: "sick"}}},
			Plan{Stop: []Stop{{"a", "sick"}}}},
		"once": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"a": {Stage: Ready, Kill: "sick", Stopping: true}}},
			Plan{}},
		"a lost sandbox takes what still runs with it": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: Thing{Stage: Ended}, Volumes: ready, Containers: things{"a": up}},
			Plan{Stop: []Stop{{"a", "Pod sandbox changed, it will be killed and re-created."}}}},
		"then it is removed": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: Thing{Stage: Ended}, Volumes: ready, Containers: things{"a": failed}},
			Plan{RemoveSandbox: true}},
		"a lost sandbox ends a pod that never restarts": {
			spec(corev1.RestartPolicyNever, nil, "a"), World{Sandbox: Thing{Stage: Ended}, Volumes: ready, Containers: things{"a": failed}},
			Plan{Done: true}},
		"a deleted pod is stopped, sidecars last": {
			spec(corev1.RestartPolicyAlways, inits("s"), "a", "b"), World{Sandbox: ready, Volumes: ready, Terminating: true, Deleted: true, Containers: things{"s": up, "a": up, "b": done}},
			Plan{Stop: []Stop{{Name: "a"}}}},
		"sidecars end from the last to the first": {
			spec(corev1.RestartPolicyAlways, inits("s", "s2"), "a"), World{Sandbox: ready, Volumes: ready, Terminating: true, Deleted: true, Containers: things{"s": up, "s2": up, "a": done}},
			Plan{Stop: []Stop{{Name: "s2"}}}},
		"a start under way is given up": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: ready, Volumes: ready, Terminating: true, Deleted: true, Containers: things{"a": busy}},
			Plan{CancelStarts: true}},
		"a deleted pod is removed when all has ended": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: ready, Volumes: ready, Terminating: true, Deleted: true, Containers: things{"a": done}},
			Plan{Done: true, Remove: true}},
		"one that never began as well": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Terminating: true, Deleted: true},
			Plan{Done: true, Remove: true}},
		"not while its sandbox is being made": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: Thing{Stage: Busy}, Terminating: true, Deleted: true},
			Plan{}},
		"the deadline ends a pod": {
			expiring, World{Sandbox: ready, Volumes: ready, StartTime: now.Add(-11 * time.Second), Containers: things{"a": up}},
			Plan{Expired: true, Stop: []Stop{{Name: "a"}}}},
		"before it, the plan wakes for it": {
			expiring, World{Sandbox: ready, Volumes: ready, StartTime: now.Add(-9 * time.Second), Containers: things{"a": up}},
			Plan{WakeAt: now.Add(time.Second)}},
		"a post-start hook comes before the next container": {
			spec(corev1.RestartPolicyAlways, nil, "a", "b"), World{Sandbox: ready, Volumes: ready, Containers: things{"a": {Stage: Busy, PostStart: true}}},
			Plan{}},
		"a resize comes before what is to start": {
			spec(corev1.RestartPolicyAlways, nil, "a", "b"), World{Sandbox: ready, Volumes: ready, Resize: Resize{Wanted: true}, Containers: things{"a": up, "b": failed}},
			Plan{Resize: true}},
		"and is begun once": {
			spec(corev1.RestartPolicyAlways, nil, "a", "b"), World{Sandbox: ready, Volumes: ready, Resize: Resize{Wanted: true, Busy: true}, Containers: things{"a": up, "b": failed}},
			Plan{}},
		"one that failed holds up nothing": {
			spec(corev1.RestartPolicyAlways, nil, "a", "b"), World{Sandbox: ready, Volumes: ready, Resize: Resize{Wanted: true, RetryAt: later}, Containers: things{"a": up, "b": failed}},
			Plan{Start: []string{"b"}, WakeAt: later}},
		"a deleted pod is not resized": {
			spec(corev1.RestartPolicyAlways, nil, "a"), World{Sandbox: ready, Volumes: ready, Terminating: true, Deleted: true, Resize: Resize{Wanted: true}, Containers: things{"a": up}},
			Plan{Stop: []Stop{{Name: "a"}}}},
		"a container stopped for a resize starts again though it succeeded": {
			spec(corev1.RestartPolicyOnFailure, nil, "a"), World{Sandbox: ready, Volumes: ready, Containers: things{"a": {Stage: Ended, Again: true}}},
			Plan{Start: []string{"a"}}},
		"a restart of all ends what runs, but for debuggers": {
			spec(corev1.RestartPolicyNever, inits("s"), "a", "b"),
			World{Sandbox: ready, Volumes: ready, RestartAll: true, Containers: things{"s": up, "a": failed, "b": up, "d": {Stage: Ready, Ephemeral: true}}},
			Plan{Stop: []Stop{{"b", RestartAllReason}, {"s", RestartAllReason}}}},
		"it breaks off what starts": {
			spec(corev1.RestartPolicyNever, nil, "a", "b"), World{Sandbox: ready, Volumes: ready, RestartAll: true, Containers: things{"a": failed, "b": busy}},
			Plan{CancelStarts: true}},
		"and removes all when nothing runs": {
			spec(corev1.RestartPolicyNever, nil, "a", "b"), World{Sandbox: ready, Volumes: ready, RestartAll: true, Containers: things{"a": failed, "b": failed}},
			Plan{Reset: true}},
		"a deleted pod is not restarted": {
			spec(corev1.RestartPolicyNever, nil, "a", "b"), World{Sandbox: ready, Volumes: ready, RestartAll: true, Terminating: true, Deleted: true, Containers: things{"a": failed, "b": up}},
			Plan{Stop: []Stop{{Name: "b"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Decide(c.pod, c.w, now)
			sort.Slice(got.Stop, func(i, j int) bool { return got.Stop[i].Name < got.Stop[j].Name })
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v\nof   %+v", got, c.want, c.w)
			}
			if again := Decide(c.pod, c.w, now); again.Done != got.Done || again.Remove != got.Remove {
				t.Error("the same world gave another plan")
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	var b Backoff
	at := now
	var waits []time.Duration
	for range 8 {
		until := b.After(at)
		if until.IsZero() {
			until = at
		}
		waits = append(waits, until.Sub(at))
		b = b.Next(until)
		at = until.Add(time.Second) // it runs for a second and crashes
	}
	want := []time.Duration{0, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 300 * time.Second, 300 * time.Second}
	if !reflect.DeepEqual(waits, want) {
		t.Errorf("waits %v, want %v", waits, want)
	}
	if until := b.After(b.Updated.Add(11 * time.Minute)); !until.IsZero() {
		t.Errorf("a long quiet time is not forgotten: %v", until)
	}
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	node := &corev1.Node{}
	node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: quantity("2"), corev1.ResourceMemory: quantity("1Gi"), corev1.ResourcePods: quantity("3"), "example.com/card": quantity("2")}
	asks := func(cpu string) *corev1.Pod {
		p := spec(corev1.RestartPolicyAlways, nil, "a")
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: quantity(cpu)}
		return p
	}
	heavy := asks("1500m")
	heavy.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: quantity("600m")}
	cards := func(n string) *corev1.Pod {
		p := asks("0")
		p.Spec.Containers[0].Resources.Requests["example.com/card"] = quantity(n)
		return p
	}
	others := asks("0")
	others.Spec.Containers[0].Resources.Requests["example.com/other"] = quantity("7")
	selects := spec(corev1.RestartPolicyAlways, nil, "a")
	selects.Spec.NodeSelector = map[string]string{"x": "y"}
	port := spec(corev1.RestartPolicyAlways, nil, "a")
	port.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}}
	for name, c := range map[string]struct {
		pod    *corev1.Pod
		others []*corev1.Pod
		reason string
	}{
		"what fits":                      {asks("2"), nil, ""},
		"too much beside others":         {asks("1500m"), []*corev1.Pod{asks("600m")}, "OutOfcpu"},
		"too many":                       {asks("0"), []*corev1.Pod{asks("0"), asks("0"), asks("0")}, "OutOfpods"},
		"too much by its overhead":       {heavy, nil, "OutOfcpu"},
		"a whole that others have":       {cards("2"), []*corev1.Pod{cards("1")}, "OutOfexample.com/card"},
		"what the node knows nothing of": {others, nil, ""},
		"another node's":                 {selects, nil, "NodeAffinity"},
		"a taken port":                   {port, []*corev1.Pod{port}, "NodePorts"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if reason, message := Admit(c.pod, node, c.others); reason != c.reason {
				t.Errorf("got %q (%s), want %q", reason, message, c.reason)
			}
		})
	}
}
