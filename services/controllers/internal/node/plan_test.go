package node

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

const (
	grace   = 40 * time.Second
	startup = time.Minute
)

func newNode(ready corev1.ConditionStatus, taints ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	if ready != "" {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, Reason: "KubeletReady"}}
	}
	for _, t := range taints {
		var key, effect string
		if _, err := fmt.Sscan(t, &key, &effect); err != nil {
			panic(err)
		}
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffect(effect)})
	}
	return n
}

func TestDecide(t *testing.T) {
	t.Parallel()
	const notReady, unreachable = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
	cases := []struct {
		name    string
		node    *corev1.Node
		silent  time.Duration
		halted  bool
		unknown bool
		lost    bool
		taints  []string
		evict   string // once the zone lets it
		again   time.Duration
	}{
		{name: "a ready node that beats stays as it is", node: newNode("True"), silent: 10 * time.Second, again: 30 * time.Second},
		{name: "the not-ready taint goes at once when the node is ready", node: newNode("True", notReady+" NoSchedule", notReady+" NoExecute", "mine NoSchedule"),
			silent: time.Second, taints: []string{"mine NoSchedule"}, again: 39 * time.Second},
		{name: "silence makes the node unknown and unreachable", node: newNode("True"), silent: grace, unknown: true, lost: true,
			taints: []string{unreachable + " NoSchedule"}, evict: unreachable},
		{name: "a node whose pods leave already needs no other leave", node: newNode("True", notReady+" NoExecute"), silent: grace, unknown: true, lost: true,
			taints: []string{unreachable + " NoSchedule", unreachable + " NoExecute"}},
		{name: "what is unknown already is not written again", node: newNode("Unknown", unreachable+" NoSchedule", unreachable+" NoExecute"), silent: time.Hour,
			taints: []string{unreachable + " NoSchedule", unreachable + " NoExecute"}},
		{name: "a node that says it is not ready is tainted so", node: newNode("False"), silent: time.Second,
			taints: []string{notReady + " NoSchedule"}, evict: notReady, again: 39 * time.Second},
		{name: "a node that says so after it was lost changes its taint at once", node: newNode("False", unreachable+" NoExecute"), silent: time.Second,
			taints: []string{notReady + " NoSchedule", notReady + " NoExecute"}, again: 39 * time.Second},
		{name: "when no node is ready nothing is evicted", node: newNode("True", unreachable+" NoExecute"), silent: grace, halted: true, unknown: true, lost: true,
			taints: []string{unreachable + " NoSchedule"}},
		{name: "a node that never spoke has the longer grace and keeps its taint", node: newNode("", notReady+" NoSchedule"), silent: 50 * time.Second,
			taints: []string{notReady + " NoSchedule"}, again: 10 * time.Second},
		{name: "a node that never spoke becomes unknown in the end", node: newNode(""), silent: startup, unknown: true,
			taints: []string{unreachable + " NoSchedule"}, evict: unreachable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := decide(c.node, pulse{Last: now.Add(-c.silent), Halted: c.halted}, grace, startup, now)
			if (v.Conditions != nil) != c.unknown || v.Lost != c.lost || v.Again != c.again {
				t.Errorf("unknown %v, lost %v, again %v; want %v, %v, %v", v.Conditions != nil, v.Lost, v.Again, c.unknown, c.lost, c.again)
			}
			var got []string
			for _, taint := range v.Taints {
				got = append(got, taint.Key+" "+string(taint.Effect))
			}
			evict := ""
			if v.Evict != nil {
				evict = v.Evict.Key
			}
			if fmt.Sprint(got) != fmt.Sprint(c.taints) || evict != c.evict {
				t.Errorf("taints %v, evict %q; want %v, %q", got, evict, c.taints, c.evict)
			}
		})
	}
}

func TestCordonedNodesAreTainted(t *testing.T) {
	t.Parallel()
	n := newNode("True")
	n.Spec.Unschedulable = true
	if v := decide(n, pulse{Last: now}, grace, startup, now); !v.Retaint || v.Taints[0].Key != corev1.TaintNodeUnschedulable {
		t.Errorf("got %+v", v)
	}
}

func TestTheOldLabelsFollowTheNewOnes(t *testing.T) {
	t.Parallel()
	n := newNode("True")
	n.Labels = map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "beta.kubernetes.io/arch": "amd64"}
	if got := labels(n); len(got) != 1 || got["beta.kubernetes.io/os"] != "linux" {
		t.Errorf("got %v", got)
	}
}

func TestTolerated(t *testing.T) {
	t.Parallel()
	seconds := func(n int64) *int64 { return &n }
	gone := corev1.Taint{Key: "gone", Effect: corev1.TaintEffectNoExecute}
	slow := corev1.Taint{Key: "slow", Value: "very", Effect: corev1.TaintEffectNoExecute}
	cases := []struct {
		name        string
		tolerations []corev1.Toleration
		taints      []corev1.Taint
		limit       time.Duration
		bounded     bool
	}{
		{"no taint", nil, nil, 0, false},
		{"not tolerated", nil, []corev1.Taint{gone}, 0, true},
		{"for ever", []corev1.Toleration{{Operator: "Exists"}}, []corev1.Taint{gone, slow}, 0, false},
		{"for a time", []corev1.Toleration{{Key: "gone", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: seconds(300)}}, []corev1.Taint{gone}, 300 * time.Second, true},
		{"the shortest time counts", []corev1.Toleration{
			{Key: "gone", Operator: "Exists", TolerationSeconds: seconds(300)}, {Key: "slow", Value: "very", TolerationSeconds: seconds(20)},
		}, []corev1.Taint{gone, slow}, 20 * time.Second, true},
		{"another value", []corev1.Toleration{{Key: "slow", Value: "little"}}, []corev1.Taint{slow}, 0, true},
		{"another effect", []corev1.Toleration{{Key: "gone", Operator: "Exists", Effect: "NoSchedule"}}, []corev1.Taint{gone}, 0, true},
		{"a negative time is none", []corev1.Toleration{{Key: "gone", Operator: "Exists", TolerationSeconds: seconds(-1)}}, []corev1.Taint{gone}, 0, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if limit, bounded := tolerated(c.tolerations, c.taints); limit != c.limit || bounded != c.bounded {
				t.Errorf("got %v %v, want %v %v", limit, bounded, c.limit, c.bounded)
			}
		})
	}
}

func TestAPodOfALostNodeKeepsWhatItsContainersReported(t *testing.T) {
	t.Parallel()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u", ResourceVersion: "7", Generation: 2}, Status: corev1.PodStatus{
		Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "c"}}, // the rest is not in the mirror
	}}
	got, err := json.Marshal(notReady(p, metav1.NewTime(now)))
	want := `{"metadata":{"resourceVersion":"7","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-05-01T12:00:00Z","status":"False","type":"Ready"}]}}`
	if err != nil || string(got) != want {
		t.Errorf("the patch is %s, %v; want %s", got, err, want)
	}
}
