package shape

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// full is a pod as the API server stores it.
func full(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	yes, priority := true, int32(7)
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: "u-1", Generation: 3, CreationTimestamp: metav1.NewTime(time.Unix(1700000000, 0)),
			OwnerReferences: []metav1.OwnerReference{{UID: "other"}, {Kind: "ReplicaSet", UID: "rs", Controller: &yes}}},
		Spec: corev1.PodSpec{
			SchedulerName: "default-scheduler", Priority: &priority,
			NodeSelector: map[string]string{"disk": "ssd"},
			Tolerations:  []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{
				Name: "c", Image: "image:1", Env: []corev1.EnvVar{{Name: "A", Value: `quoted "x" {`}},
				Ports:        []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}},
				Resources:    corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("250m"), "memory": resource.MustParse("1Gi"), "example.com/gpu": resource.MustParse("2")}},
				VolumeMounts: []corev1.VolumeMount{{Name: "kube-api-access-" + name, MountPath: "/var/run"}},
			}},
			Volumes: []corev1.Volume{{Name: "kube-api-access-" + name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}}},
		},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func parse(t *testing.T, table *Table, p *corev1.Pod) *Pod {
	t.Helper()
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := table.Parse(data, 42)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestParseReadsWhatMatters(t *testing.T) {
	table := NewTable()
	got := parse(t, table, full("a", func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "web"}
		started := metav1.NewTime(time.Unix(1700000060, 0))
		p.Status.NominatedNodeName, p.Status.StartTime = "n7", &started
		p.Status.Conditions = []corev1.PodCondition{{Type: "PodScheduled", Status: "False", Reason: "Unschedulable", Message: "why"},
			{Type: "DisruptionTarget", Status: "True", Reason: "PreemptionByScheduler"}}
	}))
	want := &Pod{Namespace: "default", Name: "a", UID: "u-1", Owner: "rs", Spreads: true, Created: time.Unix(1700000000, 0).UTC(), Revision: 42, Generation: 3,
		Unscheduled: Condition{"Unschedulable", "why"}, Shape: got.Shape, Self: &Identity{Namespace: "default", Labels: labels.Set{"app": "web"}},
		Nominated: "n7", Started: time.Unix(1700000060, 0).UTC(), Preempted: true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	s := got.Shape
	if s.Requests.MilliCPU != 250 || s.Requests.Memory != 1<<30 || s.Requests.Scalar("example.com/gpu") != 2 || s.Priority != 7 ||
		len(s.Ports) != 1 || s.Ports[0] != (Port{"0.0.0.0", "TCP", 8080}) || len(s.Tolerations) != 1 || len(s.Missing) != 0 {
		t.Errorf("shape %+v", s)
	}
}

// The shape read from the few members that are kept is that of the whole pod.
func TestParseAgreesWithTheWholePod(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	table := NewTable()
	for i, change := range []func(*corev1.Pod){
		func(*corev1.Pod) {},
		func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i", RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("3")}}}}
		},
		func(p *corev1.Pod) { p.Spec.Overhead = corev1.ResourceList{"memory": resource.MustParse("64Mi")} },
		func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} },
		func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}})
		},
		func(p *corev1.Pod) {
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{WhenUnsatisfiable: corev1.DoNotSchedule, TopologyKey: "zone"}}
		},
		func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "zone"}}}}
		},
		func(p *corev1.Pod) { p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "x"}} },
		func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"n1"}}}}}}}}
		},
	} {
		p := full(fmt.Sprint("p", i), change)
		got, want := *parse(t, table, p).Shape, *New(p)
		got.required, want.required = want.required, got.required // compiled selectors have no equality
		want.required = got.required
		got.pin, got.base = "", nil // TestThePodsOfADaemonSetAreOfOneKind
		if !reflect.DeepEqual(got, want) {
			t.Errorf("change %d: got %+v\nwant %+v", i, got, want)
		}
	}
}

func TestWhileAPodIsResizedItTakesTheMostOfWhatItHasAndAsks(t *testing.T) {
	cpu := func(amount string) corev1.ResourceList { return corev1.ResourceList{"cpu": resource.MustParse(amount)} }
	resize := func(ask, has string, condition corev1.PodConditionType, reason string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.NodeName = "n"
			p.Spec.Containers[0].Resources.Requests = cpu(ask)
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", AllocatedResources: cpu(has), Resources: &corev1.ResourceRequirements{Requests: cpu(has)}}}
			p.Status.Conditions = []corev1.PodCondition{{Type: condition, Status: "True", Reason: reason}}
		}
	}
	tests := []struct {
		name   string
		change func(*corev1.Pod)
		want   int64
	}{
		{"growing: what it asks", resize("2", "1", corev1.PodResizeInProgress, ""), 2000},
		{"shrinking: what it has", resize("1", "2", corev1.PodResizeInProgress, ""), 2000},
		{"put off: what it asks", resize("2", "1", corev1.PodResizePending, corev1.PodReasonDeferred), 2000},
		{"impossible: what it has", resize("64", "1", corev1.PodResizePending, corev1.PodReasonInfeasible), 1000},
		{"done: what it asks", resize("1", "1", corev1.PodReady, ""), 1000},
	}
	table := NewTable()
	for _, tt := range tests {
		if got := parse(t, table, full("a", tt.change)).Shape.Requests.MilliCPU; got != tt.want {
			t.Errorf("%s: %d m, want %d", tt.name, got, tt.want)
		}
	}
}

func TestPodsOfOneTemplateShareAShapeAndOthersDoNot(t *testing.T) {
	table := NewTable()
	a, b := parse(t, table, full("a")), parse(t, table, full("b"))
	if a.Shape != b.Shape {
		t.Error("two pods that differ in name and token volume have two shapes")
	}
	c := parse(t, table, full("c", func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests["cpu"] = resource.MustParse("251m") }))
	if c.Shape == a.Shape {
		t.Error("a pod with another request has the same shape")
	}
	bound := parse(t, table, full("a", func(p *corev1.Pod) { p.Spec.NodeName = "n"; p.Status.Phase = corev1.PodRunning }))
	if bound.Shape != a.Shape || bound.NodeName != "n" || bound.Pending() || !bound.Occupies() {
		t.Errorf("the bound version reads %+v", bound)
	}
	runtime.KeepAlive(c)
}

func TestPodsThatSpeakOfOthersShareAShapeOnlyWithTheSameLabels(t *testing.T) {
	table := NewTable()
	speaks := func(app string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Labels = map[string]string{"app": app}
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule,
				LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
		}
	}
	a, b, c := parse(t, table, full("a", speaks("web"))), parse(t, table, full("b", speaks("web"))), parse(t, table, full("c", speaks("db")))
	if a.Shape != b.Shape || a.Self != b.Self {
		t.Error("two pods of one template have two shapes or identities")
	}
	if !a.Shape.Terms.Hard[0].Self || c.Shape.Terms.Hard[0].Self {
		t.Error("whether the pod counts itself does not follow from its labels")
	}
	runtime.KeepAlive(c)
}

func TestShapesThatNobodyUsesAreForgotten(t *testing.T) {
	table := NewTable()
	for i := range 100 {
		parse(t, table, full("p", func(p *corev1.Pod) { p.Spec.NodeSelector["n"] = fmt.Sprint(i) }))
	}
	for deadline := time.Now().Add(10 * time.Second); table.Len() > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d shapes are still held", table.Len())
		}
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
}

func BenchmarkParse(b *testing.B) {
	data, err := json.Marshal(full("a"))
	if err != nil {
		b.Fatal(err)
	}
	table := NewTable()
	keep, _ := table.Parse(data, 1)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := table.Parse(data, 1); err != nil {
			b.Fatal(err)
		}
	}
	runtime.KeepAlive(keep)
}

// A DaemonSet's pods differ in the node that they demand; to the scheduler they are of one
// kind, and each is what its whole specification says.
func TestThePodsOfADaemonSetAreOfOneKind(t *testing.T) {
	t.Parallel()
	name := func(operator corev1.NodeSelectorOperator, names ...string) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: "metadata.name", Operator: operator, Values: names}
	}
	zone := corev1.NodeSelectorRequirement{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}}
	fields := func(r ...corev1.NodeSelectorRequirement) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchFields: r}
	}
	in := func(node string) corev1.NodeSelectorTerm { return fields(name(corev1.NodeSelectorOpIn, node)) }
	for what, c := range map[string]struct {
		terms func(node string) []corev1.NodeSelectorTerm
		alike bool
	}{
		"one name": {func(n string) []corev1.NodeSelectorTerm { return []corev1.NodeSelectorTerm{in(n)} }, true},
		"one name and what its labels": {func(n string) []corev1.NodeSelectorTerm {
			term := in(n)
			term.MatchExpressions = []corev1.NodeSelectorRequirement{zone}
			return []corev1.NodeSelectorTerm{term}
		}, true},
		"any but one": {func(n string) []corev1.NodeSelectorTerm {
			return []corev1.NodeSelectorTerm{fields(name(corev1.NodeSelectorOpNotIn, n))}
		}, false},
		"one of two": {func(n string) []corev1.NodeSelectorTerm {
			return []corev1.NodeSelectorTerm{fields(name(corev1.NodeSelectorOpIn, n, "n9"))}
		}, false},
		"one twice": {func(n string) []corev1.NodeSelectorTerm {
			return []corev1.NodeSelectorTerm{fields(name(corev1.NodeSelectorOpIn, n), name(corev1.NodeSelectorOpIn, n))}
		}, false},
		"two terms": {func(n string) []corev1.NodeSelectorTerm { return []corev1.NodeSelectorTerm{in(n), in("n9")} }, false},
		"or by its labels": {func(n string) []corev1.NodeSelectorTerm {
			return []corev1.NodeSelectorTerm{in(n), {MatchExpressions: []corev1.NodeSelectorRequirement{zone}}}
		}, false},
		"an empty term too": {func(n string) []corev1.NodeSelectorTerm { return []corev1.NodeSelectorTerm{in(n), {}} }, false},
	} {
		for _, more := range []bool{false, true} {
			table, nodes := NewTable(), []string{"n1", "n2", "n9"}
			shapes := map[string]*Shape{}
			for _, n := range nodes[:2] {
				p := full(n, func(p *corev1.Pod) {
					a := &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: c.terms(n)}}
					p.Spec.Affinity = &corev1.Affinity{NodeAffinity: a}
					if more {
						a.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.PreferredSchedulingTerm{{Weight: 1, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{zone}}}}
						p.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "zone"}}}
					}
				})
				got, want := parse(t, table, p).Shape, New(p)
				if again := parse(t, table, p).Shape; again != got {
					t.Errorf("%s: two versions of a pod have two shapes", what)
				}
				shapes[n] = got
				if !reflect.DeepEqual(got.Pinned, want.Pinned) || got.PerNode != want.PerNode || (got.Preferred == nil) != (want.Preferred == nil) || (got.Terms == nil) != (want.Terms == nil) {
					t.Errorf("%s: got %+v, want %+v", what, got, want)
				}
				for _, other := range nodes {
					for _, labels := range []map[string]string{{"zone": "a", "disk": "ssd"}, {"zone": "b", "disk": "ssd"}, {"zone": "a"}} {
						node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: other, Labels: labels}}
						if got.MatchesNode(node) != want.MatchesNode(node) {
							t.Errorf("%s: the pod of %s on %s %v: %v, its whole specification says otherwise", what, n, other, labels, got.MatchesNode(node))
						}
					}
				}
			}
			if alike := shapes["n1"].Kind() == shapes["n2"].Kind(); alike != c.alike {
				t.Errorf("%s: of one kind: %v, want %v", what, alike, c.alike)
			}
		}
	}
}
