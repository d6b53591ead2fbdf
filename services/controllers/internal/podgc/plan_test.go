package podgc

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// newPod is a pod in a phase, created the given number of minutes after the start.
func newPod(name, node string, phase corev1.PodPhase, minute int, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID(name), Generation: 3,
			CreationTimestamp: metav1.NewTime(start.Add(time.Duration(minute) * time.Minute)),
		},
		Spec:   corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{Phase: phase},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func terminating(grace int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		at := metav1.NewTime(start)
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
	}
}

func evictedPod(p *corev1.Pod) { p.Status.Reason = "Evicted" }

func newNode(name string, ready corev1.ConditionStatus, taints ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	for _, key := range taints {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute})
	}
	return n
}

// said is a removal in words.
func said(all []removal) (words []string) {
	for _, r := range all {
		w := r.Pod.Name
		if r.Mark {
			w += " marked"
		}
		if r.Condition != nil {
			w += " " + r.Condition.Reason
		}
		if r.Delete {
			w += " deleted"
		}
		words = append(words, w)
	}
	return words
}

func TestPodsOfANode(t *testing.T) {
	t.Parallel()
	const running, pending, succeeded = corev1.PodRunning, corev1.PodPending, corev1.PodSucceeded
	cases := []struct {
		name    string
		node    *corev1.Node
		missing time.Duration
		pods    []*corev1.Pod
		want    []string
		again   time.Duration
	}{
		{name: "pods of a node that is there stay", node: newNode("n", "True"), pods: []*corev1.Pod{newPod("a", "n", running, 0), newPod("b", "n", running, 0, terminating(30))}},
		{name: "a node missing for a moment may come", missing: 10 * time.Second, pods: []*corev1.Pod{newPod("a", "n", running, 0)}, again: 30 * time.Second},
		{name: "a missing node without pods is nobody's business", missing: 10 * time.Second},
		{name: "after the quarantine all of its pods go", missing: quarantine,
			pods: []*corev1.Pod{newPod("b", "n", running, 2), newPod("a", "n", pending, 1), newPod("c", "n", succeeded, 3), newPod("d", "n", running, 4, terminating(30))},
			want: []string{"a marked DeletionByPodGC deleted", "b marked DeletionByPodGC deleted", "c deleted", "d marked DeletionByPodGC deleted"}},
		{name: "a pod that waits for its finalizers is not deleted again", missing: time.Hour,
			pods: []*corev1.Pod{newPod("a", "n", corev1.PodFailed, 0, terminating(0)), newPod("b", "n", running, 0, terminating(0))},
			want: []string{"b marked DeletionByPodGC"}},
		{name: "out of service and not ready: what terminates is ended", node: newNode("n", "Unknown", corev1.TaintNodeOutOfService),
			pods: []*corev1.Pod{newPod("a", "n", running, 0), newPod("b", "n", running, 0, terminating(30))},
			want: []string{"b marked deleted"}},
		{name: "out of service but ready: its agent will see to it", node: newNode("n", "True", corev1.TaintNodeOutOfService),
			pods: []*corev1.Pod{newPod("b", "n", running, 0, terminating(30))}},
		{name: "not ready alone is no reason", node: newNode("n", "Unknown", corev1.TaintNodeUnreachable),
			pods: []*corev1.Pod{newPod("b", "n", running, 0, terminating(30))}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, again := planNode(c.node, c.missing, quarantine, c.pods)
			if !slices.Equal(said(got), c.want) || again != c.again {
				t.Errorf("got %q, again in %s; want %q, again in %s", said(got), again, c.want, c.again)
			}
		})
	}
}

func TestPodsWithoutANode(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		pod  *corev1.Pod
		want []string
	}{
		{name: "a pod that waits for a node stays", pod: newPod("a", "", corev1.PodPending, 0)},
		{name: "a terminating one goes", pod: newPod("a", "", corev1.PodPending, 0, terminating(30)), want: []string{"a marked deleted"}},
		{name: "one that waits for its finalizers has failed", pod: newPod("a", "", corev1.PodPending, 0, terminating(0)), want: []string{"a marked"}},
		{name: "a terminating one with a node is the agent's", pod: newPod("a", "n", corev1.PodPending, 0, terminating(30))},
		{name: "one that is gone is no work"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := said(planUnscheduled(c.pod)); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestFinishedPods(t *testing.T) {
	t.Parallel()
	pods := []*corev1.Pod{
		newPod("young", "n", corev1.PodSucceeded, 9), newPod("old", "n", corev1.PodFailed, 1), newPod("older", "", corev1.PodSucceeded, 0),
		newPod("evicted", "n", corev1.PodFailed, 8, evictedPod), newPod("running", "n", corev1.PodRunning, 0), newPod("pending", "", corev1.PodPending, 0),
		newPod("b", "n", corev1.PodSucceeded, 3), newPod("a", "n", corev1.PodSucceeded, 3),
	}
	cases := []struct {
		name      string
		threshold int
		want      []string
	}{
		{name: "as many as are kept stay", threshold: 6},
		{name: "of one too many an evicted one goes first", threshold: 5, want: []string{"evicted deleted"}},
		{name: "then the oldest, by name at the same age", threshold: 2, want: []string{"evicted deleted", "older deleted", "old deleted", "a deleted"}},
		{name: "without a threshold all stay", threshold: 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := said(planTerminated(pods, c.threshold)); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
