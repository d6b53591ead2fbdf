package daemonset

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func newSet(options ...func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	set := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "agent", UID: "set", Generation: 3},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "agent"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "image:0"}}},
			},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type:          appsv1.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: new(intstr.FromInt32(1)), MaxSurge: new(intstr.FromInt32(0))},
			},
		},
	}
	for _, option := range options {
		option(set)
	}
	return set
}

func onDelete(set *appsv1.DaemonSet) {
	set.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
}
func unavailable(value string) func(*appsv1.DaemonSet) {
	return func(set *appsv1.DaemonSet) {
		set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = new(intstr.Parse(value))
	}
}
func surging(value string) func(*appsv1.DaemonSet) {
	return func(set *appsv1.DaemonSet) {
		set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: new(intstr.FromInt32(0)), MaxSurge: new(intstr.Parse(value))}
	}
}
func selecting(set *appsv1.DaemonSet) {
	set.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
}
func minReady(set *appsv1.DaemonSet) { set.Spec.MinReadySeconds = 30 }
func hostNetwork(set *appsv1.DaemonSet) {
	set.Spec.Template.Spec.HostNetwork = true
}
func onlyOn(node string) func(*appsv1.DaemonSet) {
	return func(set *appsv1.DaemonSet) { set.Spec.Template.Spec.NodeName = node }
}
func generation(n string) func(*appsv1.DaemonSet) {
	return func(set *appsv1.DaemonSet) {
		set.Annotations = map[string]string{appsv1.DeprecatedTemplateGeneration: n}
	}
}

// nodesOf reads "a b:ssd c:disk-pressure d:drained e:refused": a node and what is
// special about it.
func nodesOf(spec string) (out []*corev1.Node) {
	for _, each := range strings.Fields(spec) {
		name, traits, _ := strings.Cut(each, ":")
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
		for _, trait := range strings.Split(traits, ",") {
			taint := func(key string, effect corev1.TaintEffect) {
				node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: key, Effect: effect})
			}
			switch trait {
			case "":
			case "ssd":
				node.Labels["disk"] = "ssd"
			case "cordoned":
				node.Spec.Unschedulable = true
				taint(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
			case "disk-pressure":
				taint(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule)
			case "unreachable":
				taint(corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule)
				taint(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
			case "no-network":
				taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)
			case "reserved":
				taint("reserved", corev1.TaintEffectNoSchedule)
			case "avoided":
				taint("avoided", corev1.TaintEffectPreferNoSchedule)
			case "drained":
				taint("drained", corev1.TaintEffectNoExecute)
			default:
				panic("what is " + trait)
			}
		}
		out = append(out, node)
	}
	return out
}

// podsOf reads "a:new,ready a/2:old": a node, which of several pods there, older ones
// first, its revision and state.
func podsOf(spec string) (out []*corev1.Pod) {
	for i, each := range strings.Fields(spec) {
		place, state, _ := strings.Cut(each, ":")
		node, _, _ := strings.Cut(place, "/")
		words := strings.Split(state, ",")
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "ns", Name: place, UID: types.UID(place), CreationTimestamp: metav1.NewTime(now.Add(time.Duration(i-100) * time.Minute)),
				Labels: map[string]string{"app": "agent", hashLabel: words[0]},
			},
			Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: corev1.PodRunning},
		}
		for _, word := range words[1:] {
			switch word {
			case "ready":
				ready(p, now.Add(-time.Minute))
			case "fresh":
				ready(p, now.Add(-time.Second))
			case "unbound":
				p.Spec.NodeName, p.Status.Phase = "", corev1.PodPending
				pin(p, node)
			case "failed":
				p.Status.Phase = corev1.PodFailed
			case "succeeded":
				p.Status.Phase = corev1.PodSucceeded
			case "going":
				p.DeletionTimestamp = new(metav1.NewTime(now))
			case "generation5":
				p.Labels["pod-template-generation"] = "5"
			default:
				panic("what is " + word)
			}
		}
		out = append(out, p)
	}
	return out
}

func ready(p *corev1.Pod, since time.Time) *corev1.Pod {
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(since.Truncate(time.Second))},
	}}
	return p
}

// described is a plan in one line: +node for a pod to make, -pod for one to delete.
func described(p plan) string {
	var out []string
	for _, node := range p.Create {
		out = append(out, "+"+node)
	}
	for _, each := range p.Delete {
		out = append(out, "-"+each.Name)
	}
	for _, n := range p.Events {
		out = append(out, n.Reason)
	}
	if p.Again > 0 {
		out = append(out, p.Again.String())
	}
	return strings.Join(out, " ")
}

func TestDecide(t *testing.T) {
	t.Parallel()
	three := "a b c"
	tests := []struct {
		name  string
		set   *appsv1.DaemonSet
		nodes string
		pods  string
		want  string
	}{
		{"every node gets a pod", newSet(), three, "", "+a +b +c"},
		{"those that have one do not", newSet(), three, "a:new b:new,unbound c:new,going", ""},
		{"only nodes that are selected", newSet(selecting), "a b:ssd", "", "+b"},
		{"pods on others go", newSet(selecting), "a b:ssd", "a:new b:new", "-a"},
		{"a node by name", newSet(onlyOn("b")), three, "", "+b"},
		{"a node in trouble gets one", newSet(), "a:cordoned b:disk-pressure c:avoided", "", "+a +b +c"},
		{"one that cannot be reached keeps its own", newSet(), "a:unreachable b:unreachable", "b:new", ""},
		{"one without network does not", newSet(), "a:no-network", "", ""},
		{"unless the pod needs none", newSet(hostNetwork), "a:no-network", "", "+a"},
		{"a taint keeps new pods away and lets old ones stay", newSet(), "a:reserved b:reserved", "b:new", ""},
		{"one with NoExecute does not", newSet(), "a:drained b:drained", "b:new", "-b"},
		{"on a node that is gone, what is not bound is deleted", newSet(), "a", "a:new b:new,unbound c:new", "-b"},

		{"a failed pod is deleted", newSet(), "a", "a:new,failed", "-a FailedDaemonPod"},
		{"but not again at once", newSet(), "waiting", "waiting:new,failed", "7s"},
		{"one at a time on a node", newSet(), "a", "a:new,failed a/2:new,failed", "-a FailedDaemonPod 1s"},
		{"one that succeeded too", newSet(), "a", "a:new,succeeded", "-a SucceededDaemonPod"},
		{"on its way it does not count", newSet(), "a", "a:new,failed,going", "+a"},
		{"of two the older stays", newSet(), "a", "a:new a/2:new", "-a/2"},
		{"a bound one before one that is older", newSet(), "a", "a:new,unbound a/2:new", "-a"},

		{"an update replaces one after the other", newSet(), three, "a:old,ready b:old,ready c:old,ready", "-a"},
		{"waiting for the new one", newSet(), three, "a:new b:old,ready c:old,ready", ""},
		{"and for the old one to be gone", newSet(), three, "a:old,ready,going b:old,ready c:old,ready", ""},
		{"and until it is available", newSet(minReady), three, "a:new,fresh b:old,ready c:old,ready", ""},
		{"and then the next", newSet(minReady), three, "a:new,ready b:old,ready c:old,ready", "-b"},
		{"several at once", newSet(unavailable("2")), three, "a:old,ready b:old,ready c:old,ready", "-a -b"},
		{"a percentage is rounded up", newSet(unavailable("34%")), three, "a:old,ready b:old,ready c:old,ready", "-a -b"},
		{"zero would stand still", newSet(unavailable("0")), three, "a:old,ready b:old,ready c:old,ready", "-a"},
		{"those that do not work cost nothing", newSet(), three, "a:old,ready b:old c:old", "-b -c"},
		{"and nodes without a pod come first", newSet(), three, "b:old,ready c:old,ready", "+a"},
		{"OnDelete waits for users", newSet(onDelete), three, "a:old,ready b:old,ready c:old,ready", ""},
		{"a pod of the template's generation is updated", newSet(generation("5")), "a b", "a:old,ready,generation5 b:new,ready", ""},
		{"of another it is not", newSet(generation("6")), "a b", "a:old,ready,generation5 b:new,ready", "-a"},

		{"a surge makes new pods beside old ones", newSet(surging("1")), three, "a:old,ready b:old,ready c:old,ready", "+a"},
		{"so many", newSet(surging("50%")), three, "a:old,ready b:old,ready c:old,ready", "+a +b"},
		{"waits for them", newSet(surging("1")), three, "a:old,ready a/2:new b:old,ready c:old,ready", ""},
		{"then deletes the old one", newSet(surging("1")), three, "a:old,ready a/2:new,ready b:old,ready c:old,ready", "-a"},
		{"at once if that is not ready", newSet(surging("1")), three, "a:old a/2:new b:old,ready c:old,ready", "-a"},
		{"and goes on", newSet(surging("1")), three, "a:new,ready b:old,ready c:old,ready", "+b"},
		{"beside broken old pods it costs nothing", newSet(surging("1")), three, "a:old b:old,ready c:old", "+a +c +b"},
		{"a third pod is one too many", newSet(surging("1")), "a", "a:old,ready a/2:new a/3:new", "-a/3"},
		{"one that is going is no pod", newSet(surging("1")), "a", "a:new,going", "+a"},
		{"old pods on nodes that are wished no more stay until there are enough others", newSet(surging("1"), selecting), "a:reserved,ssd b:ssd", "a:old,ready b:new", ""},
		{"and go then", newSet(surging("1"), selecting), "a:reserved,ssd b:ssd", "a:old,ready b:new,ready", "-a"},
		{"broken ones at once", newSet(surging("1"), selecting), "a:reserved,ssd b:ssd", "a:old b:new", "-a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wait := func(node string) time.Duration { return map[string]time.Duration{"waiting": 7 * time.Second}[node] }
			nodes, pods := nodesOf(tt.nodes), podsOf(tt.pods)
			for range 2 {
				if got := described(decide(observed{tt.set, "new", nodes, pods, wait}, now)); got != tt.want {
					t.Errorf("nodes %s, pods %s: %q, want %q", tt.nodes, tt.pods, got, tt.want)
				}
				slices.Reverse(nodes) // the order they are found in does not matter
				slices.Reverse(pods)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	set := newSet(minReady, selecting)
	set.Status.CollisionCount = new(int32(2))
	nodes := nodesOf("a:ssd b:ssd c:ssd d:ssd e")
	pods := podsOf("a:new,ready b:new,fresh c:old d:new,failed,going e:new,ready")
	got := status(observed{Set: set, Hash: "new", Nodes: nodes, Pods: pods}, now)
	want := appsv1.DaemonSetStatus{
		ObservedGeneration: 3, DesiredNumberScheduled: 4, CurrentNumberScheduled: 3, NumberMisscheduled: 1,
		NumberReady: 2, NumberAvailable: 1, NumberUnavailable: 3, UpdatedNumberScheduled: 2, CollisionCount: new(int32(2)),
	}
	if got.String() != want.String() {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestANewPodIsPinned(t *testing.T) {
	t.Parallel()
	set := newSet(generation("5"))
	set.Spec.Template.Spec.Tolerations = []corev1.Toleration{
		{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))},
	}
	set.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution:  &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{}}},
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1}},
	}}
	before := set.String()
	p := newPods(set, "5d", []string{"a", "b"})[1]
	if target(p) != "b" || p.Spec.NodeName != "" || len(p.Spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) != 1 {
		t.Errorf("target %q, %+v", target(p), p.Spec.Affinity)
	}
	if p.Labels["controller-revision-hash"] != "5d" || p.Labels["pod-template-generation"] != "5" || p.Labels["app"] != "agent" || !metav1.IsControlledBy(p, set) || p.GenerateName != "agent-" {
		t.Errorf("got %+v", p.ObjectMeta)
	}
	if len(p.Spec.Tolerations) != 6 || p.Spec.Tolerations[0].TolerationSeconds != nil {
		t.Errorf("tolerations %+v", p.Spec.Tolerations)
	}
	if set.String() != before {
		t.Error("the set changed")
	}
	for _, broken := range []*corev1.Affinity{nil, {}, {NodeAffinity: &corev1.NodeAffinity{}}, set.Spec.Template.Spec.Affinity} {
		if got := target(&corev1.Pod{Spec: corev1.PodSpec{Affinity: broken}}); got != "" {
			t.Errorf("%+v points to %q", broken, got)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	var b backoffs
	at, other := place{"set", 1, "a"}, place{"set", 2, "a"}
	clock := now
	if wait := b.wait(at, clock); wait != 0 {
		t.Errorf("at first: %v", wait)
	}
	for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second} {
		b.failed(at, clock)
		if wait := b.wait(at, clock); wait != want {
			t.Errorf("waits %v, want %v", wait, want)
		}
		if wait := b.wait(at, clock.Add(want)); wait != 0 {
			t.Errorf("after that %v", wait)
		}
		clock = clock.Add(want)
	}
	for range 20 {
		b.failed(at, clock)
	}
	if wait := b.wait(at, clock); wait != 15*time.Minute {
		t.Errorf("at most: %v", wait)
	}
	if wait := b.wait(other, clock); wait != 0 {
		t.Errorf("another generation of the set waits %v", wait)
	}
	clock = clock.Add(31 * time.Minute)
	b.failed(other, clock)
	if len(b.entries) != 1 {
		t.Errorf("%d places are remembered", len(b.entries))
	}
	b.failed(at, clock)
	if wait := b.wait(at, clock); wait != time.Second {
		t.Errorf("half an hour later: %v", wait)
	}
}
