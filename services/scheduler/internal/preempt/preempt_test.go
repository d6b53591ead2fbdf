package preempt

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/shape"
)

var began = time.Unix(1700000000, 0)

// a pod: its name, what it asks of ten units a node has, its priority.
type a struct {
	name     string
	units    int64
	priority int32
	on       string
	started  int // minutes after began
	labels   labels.Set
	change   func(*corev1.Pod)
	with     func(*shape.Pod)
}

func (x a) pod() *shape.Pod {
	obj := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: x.name, Labels: x.labels}}
	obj.Spec.Priority = &x.priority
	obj.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"example.com/unit": *resource.NewQuantity(x.units, resource.DecimalSI)}}}}
	if x.change != nil {
		x.change(obj)
	}
	p := &shape.Pod{Namespace: "default", Name: x.name, UID: x.name, NodeName: x.on, Started: began.Add(time.Duration(x.started) * time.Minute),
		Shape: shape.New(obj), Self: &shape.Identity{Namespace: "default", Labels: x.labels}}
	if x.with != nil {
		x.with(p)
	}
	return p
}

func world(nodes int, pods []a, budgets ...*feed.Budget) *cluster.Mirror {
	m := cluster.New()
	for i := range nodes {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i+1), Labels: map[string]string{"zone": fmt.Sprint("z", i+1)}}}
		n.Status.Allocatable = corev1.ResourceList{"example.com/unit": resource.MustParse("10"), corev1.ResourcePods: resource.MustParse("110")}
		m.ApplyOne(feed.Change{Node: n})
	}
	for _, p := range pods {
		m.ApplyOne(feed.Change{Pod: p.pod()})
	}
	for _, b := range budgets {
		m.ApplyOne(feed.Change{Budget: b})
	}
	return m
}

// ask puts the question as a worker does.
func ask(t *testing.T, m *cluster.Mirror, p *shape.Pod) (*Choice, string) {
	t.Helper()
	ask := m.Ask(p)
	var nodes []Node
	for i := range m.Slots() {
		r := m.Explain(&ask, int32(i))
		if r.Reason == filter.OK {
			t.Fatalf("the pod fits on %s", m.Node(int32(i)).Name)
		}
		nodes = append(nodes, Node{int32(i), r})
	}
	before := fmt.Sprintf("%+v", *m.Node(0))
	answer := For(m, p, nodes, began.Add(time.Hour), 0)
	if after := fmt.Sprintf("%+v", *m.Node(0)); after != before {
		t.Errorf("the question changed the cluster:\n%s\n%s", before, after)
	}
	return answer.Choice, answer.Text
}

func TestWhoIsTakenAway(t *testing.T) {
	budget := func(name, app string, allowed int32, disrupted ...string) *feed.Budget {
		b := &feed.Budget{Namespace: "default", Name: name, Chooses: labels.SelectorFromSet(labels.Set{"app": app}), Allowed: allowed, Disrupted: map[string]bool{}}
		for _, d := range disrupted {
			b.Disrupted[d] = true
		}
		return b
	}
	guarded := labels.Set{"app": "guarded"}
	never := corev1.PreemptNever
	tests := []struct {
		name    string
		nodes   int
		running []a
		budgets []*feed.Budget
		pod     a
		want    string // node and victims, or the message
	}{
		{"a pod that fits after preempting on one node", 1, []a{{name: "low", units: 10, on: "n1"}}, nil, a{units: 5, priority: 10}, "n1 low"},
		{"only pods of lower priority go", 1, []a{{name: "same", units: 5, priority: 10, on: "n1"}, {name: "low", units: 5, on: "n1"}}, nil, a{units: 5, priority: 10}, "n1 low"},
		{"as few as needed, and the least important", 1, []a{{name: "p1", units: 3, priority: 1, on: "n1"}, {name: "p2", units: 3, priority: 2, on: "n1"}, {name: "p3", units: 3, priority: 3, on: "n1"}}, nil, a{units: 4, priority: 10}, "n1 p1"},
		{"of equal ones the youngest", 1, []a{{name: "old", units: 5, on: "n1", started: 1}, {name: "new", units: 5, on: "n1", started: 9}}, nil, a{units: 5, priority: 10}, "n1 new"},
		{"a big one that alone is enough is not spared for small ones", 1, []a{{name: "big", units: 6, priority: 1, on: "n1"}, {name: "s1", units: 2, priority: 2, on: "n1"}, {name: "s2", units: 2, priority: 2, on: "n1"}}, nil, a{units: 6, priority: 10}, "n1 big"},
		{"a node with min highest priority victim is picked", 2, []a{{name: "p5", units: 10, priority: 5, on: "n1"}, {name: "p4", units: 10, priority: 4, on: "n2"}}, nil, a{units: 5, priority: 10}, "n2 p4"},
		{"when highest priorities are the same, the min sum of priorities", 2, []a{{name: "a5", units: 5, priority: 5, on: "n1"}, {name: "a4", units: 5, priority: 4, on: "n1"}, {name: "b5", units: 5, priority: 5, on: "n2"}, {name: "b1", units: 5, priority: 1, on: "n2"}},
			nil, a{units: 10, priority: 10}, "n2 b5 b1"},
		{"few pods of a negative priority are less than many", 2, []a{{name: "a1", units: 5, priority: -5, on: "n1"}, {name: "a2", units: 5, priority: -5, on: "n1"}, {name: "b1", units: 10, priority: -5, on: "n2"}}, nil, a{units: 10, priority: 10}, "n2 b1"},
		{"when all else is the same, the node whose pods began last", 3, []a{{name: "x", units: 10, on: "n1", started: 3}, {name: "y", units: 10, on: "n2", started: 7}, {name: "z", units: 10, on: "n3", started: 5}}, nil, a{units: 5, priority: 10}, "n2 y"},
		{"a budget that would be violated is spared", 1, []a{{name: "guarded", units: 5, on: "n1", labels: guarded}, {name: "free", units: 5, priority: 5, on: "n1"}}, []*feed.Budget{budget("b", "guarded", 0)}, a{units: 5, priority: 10}, "n1 free"},
		{"even across nodes, before all priorities", 2, []a{{name: "guarded", units: 10, on: "n1", labels: guarded}, {name: "free", units: 10, priority: 9, on: "n2"}}, []*feed.Budget{budget("b", "guarded", 0)}, a{units: 5, priority: 10}, "n2 free"},
		{"a budget is violated when there is no other way", 1, []a{{name: "guarded", units: 10, on: "n1", labels: guarded}}, []*feed.Budget{budget("b", "guarded", 0)}, a{units: 5, priority: 10}, "n1 guarded violates 1"},
		{"each budget is used up once", 1, []a{{name: "g1", units: 5, on: "n1", labels: guarded, started: 1}, {name: "g2", units: 5, on: "n1", labels: guarded, started: 2}}, []*feed.Budget{budget("b", "guarded", 1)}, a{units: 10, priority: 10}, "n1 g1 g2 violates 1"},
		{"who goes already does not count again", 1, []a{{name: "guarded", units: 10, on: "n1", labels: guarded}}, []*feed.Budget{budget("b", "guarded", 0, "guarded")}, a{units: 5, priority: 10}, "n1 guarded"},
		{"anti-affinity of a less important pod", 1, []a{{name: "alone", units: 1, on: "n1", change: func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{}}}}}
		}}}, nil, a{units: 1, priority: 10}, "n1 alone"},
		{"spreading: the zone that has too many", 2, []a{{name: "low", units: 1, on: "n1", labels: labels.Set{"app": "web"}}, {name: "peer", units: 10, priority: 10, on: "n2", labels: labels.Set{"x": "y"}}}, nil,
			a{units: 1, priority: 10, labels: labels.Set{"app": "web"}, change: func(p *corev1.Pod) {
				p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
			}}, "n1 low"},
		{"room that is being made for one as important is not given away", 2, []a{{name: "low1", units: 10, on: "n1"}, {name: "low2", units: 10, priority: 1, on: "n2"}, {name: "waits", units: 6, priority: 10, with: func(p *shape.Pod) { p.Nominated = "n1" }}}, nil, a{units: 6, priority: 10}, "n2 low2"},

		{"no victims", 1, []a{{name: "high", units: 10, priority: 20, on: "n1"}}, nil, a{units: 5, priority: 10}, "0/1 nodes are available: 1 No preemption victims found for incoming pod."},
		{"not helpful", 1, []a{{name: "low", units: 10, on: "n1"}}, nil, a{units: 11, priority: 10}, "0/1 nodes are available: 1 Preemption is not helpful for scheduling."},
		{"not enough even then", 1, []a{{name: "high", units: 6, priority: 20, on: "n1"}, {name: "low", units: 4, on: "n1"}}, nil, a{units: 5, priority: 10}, "0/1 nodes are available: 1 Insufficient example.com/unit."},
		{"preemptionPolicy Never", 1, []a{{name: "low", units: 10, on: "n1"}}, nil, a{units: 5, priority: 10, change: func(p *corev1.Pod) { p.Spec.PreemptionPolicy = &never }}, "not eligible due to preemptionPolicy=Never."},
		{"a second preemption waits for the first", 1, []a{{name: "goes", units: 10, on: "n1", with: func(p *shape.Pod) { p.Deleting, p.Preempted = true, true }}}, nil,
			a{units: 5, priority: 10, with: func(p *shape.Pod) { p.Nominated = "n1" }}, "not eligible due to a terminating pod on the nominated node."},
		{"one that goes for another reason is nothing to wait for", 1, []a{{name: "goes", units: 10, on: "n1", with: func(p *shape.Pod) { p.Deleting = true }}}, nil,
			a{units: 5, priority: 10, with: func(p *shape.Pod) { p.Nominated = "n1" }}, "n1 goes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := world(tt.nodes, tt.running, tt.budgets...)
			tt.pod.name = "preemptor"
			p := tt.pod.pod()
			m.ApplyOne(feed.Change{Pod: p})
			choice, text := ask(t, m, p)
			got := text
			if choice != nil {
				names := []string{m.Node(choice.Node).Name}
				for _, v := range choice.Victims {
					names = append(names, v.Name)
				}
				got = strings.Join(names, " ")
				if choice.Violations > 0 {
					got += fmt.Sprint(" violates ", choice.Violations)
				}
				if want := fmt.Sprintf("found a potential placement for pod on node %s, preempting %d victims", names[0], len(choice.Victims)); text != want {
					t.Errorf("says %q, want %q", text, want)
				}
				if !Holds(m, p, choice.Node, choice.Victims) {
					t.Error("the planner would not agree")
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestThePlannerAgreesOnlyWhileItHelps(t *testing.T) {
	m := world(1, []a{{name: "low", units: 5, on: "n1"}, {name: "high", units: 5, priority: 20, on: "n1"}})
	p := a{name: "p", units: 5, priority: 10}.pod()
	m.ApplyOne(feed.Change{Pod: p})
	low, high := m.Pod("low"), m.Pod("high")
	for name, tt := range map[string]struct {
		victims []*shape.Pod
		want    bool
	}{
		"the right one":              {[]*shape.Pod{low}, true},
		"nobody":                     {nil, false},
		"one that is more important": {[]*shape.Pod{high}, false},
	} {
		if got := Holds(m, p, 0, tt.victims); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	m.ApplyOne(feed.Change{Pod: low, Gone: true})
	if Holds(m, p, 0, slices.Clip([]*shape.Pod{low})) {
		t.Error("a victim that is gone still counts")
	}
}

func TestABudgetIsUsedUpByThoseWhoAreAboutToGo(t *testing.T) {
	guarded := labels.Set{"app": "guarded"}
	m := world(2, []a{{name: "g1", units: 10, on: "n1", labels: guarded}, {name: "g2", units: 10, on: "n2", labels: guarded}},
		&feed.Budget{Namespace: "default", Name: "b", Chooses: labels.SelectorFromSet(guarded), Allowed: 1})
	p := a{name: "p", units: 10, priority: 10}.pod()
	m.ApplyOne(feed.Change{Pod: p})
	first, _ := ask(t, m, p)
	if first == nil || first.Violations != 0 {
		t.Fatalf("the first preemption: %+v", first)
	}
	m.Doom(first.Victims[0].UID)
	m.Nominate(p.UID, first.Node)
	q := a{name: "q", units: 10, priority: 10}.pod()
	m.ApplyOne(feed.Change{Pod: q})
	if second, _ := ask(t, m, q); second == nil || second.Violations != 1 {
		t.Errorf("the second preemption does not know of the first: %+v", second)
	}
}
