package disruption

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func newBudget(minAvailable, maxUnavailable string, disrupted map[string]time.Duration) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "ns", Generation: 3}}
	bound := func(text string) *intstr.IntOrString {
		if text == "" {
			return nil
		}
		v := intstr.Parse(text)
		return &v
	}
	b.Spec.MinAvailable, b.Spec.MaxUnavailable = bound(minAvailable), bound(maxUnavailable)
	for name, ago := range disrupted {
		if b.Status.DisruptedPods == nil {
			b.Status.DisruptedPods = map[string]metav1.Time{}
		}
		b.Status.DisruptedPods[name] = metav1.NewTime(noon.Add(-ago))
	}
	return b
}

// newPods makes pods p0, p1, … of one owner; r is ready, u unready, d being deleted.
func newPods(states string) (pods []*corev1.Pod) {
	for i, state := range states {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i), Namespace: "ns"}}
		status := corev1.ConditionTrue
		if state == 'u' {
			status = corev1.ConditionFalse
		}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
		if state == 'd' {
			at := metav1.NewTime(noon)
			p.DeletionTimestamp = &at
		}
		pods = append(pods, p)
	}
	return pods
}

func TestBudgetsAreCounted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		budget    *policyv1.PodDisruptionBudget
		pods      string
		scales    []int32
		expected  int32
		desired   int32
		healthy   int32
		allowed   int32
		disrupted int
		late      int
		again     time.Duration
	}{
		{name: "minAvailable as a number expects the pods that are there", budget: newBudget("2", "", nil), pods: "rrr", expected: 3, desired: 2, healthy: 3, allowed: 1},
		{name: "without pods none may go", budget: newBudget("0", "", nil), pods: ""},
		{name: "a budget without bounds allows none to go", budget: newBudget("", "", nil), pods: "rr", healthy: 2},
		{name: "fewer healthy than wanted are no debt", budget: newBudget("3", "", nil), pods: "ru", expected: 2, desired: 3, healthy: 1},
		{name: "pods being deleted are not healthy and are expected", budget: newBudget("1", "", nil), pods: "rrd", expected: 3, desired: 1, healthy: 2, allowed: 1},
		{name: "minAvailable in percent is of what the owners want, rounded up", budget: newBudget("50%", "", nil), pods: "rrr", scales: []int32{5}, expected: 5, desired: 3, healthy: 3},
		{name: "maxUnavailable is of what the owners want", budget: newBudget("", "1", nil), pods: "rrr", scales: []int32{3}, expected: 3, desired: 2, healthy: 3, allowed: 1},
		{name: "maxUnavailable in percent is rounded up", budget: newBudget("", "10%", nil), pods: "rrr", scales: []int32{2, 3}, expected: 5, desired: 4, healthy: 3},
		{name: "more may be unavailable than there are", budget: newBudget("", "9", nil), pods: "r", scales: []int32{2}, expected: 2, desired: 0, healthy: 1, allowed: 1},
		{
			name: "an evicted pod counts as gone", budget: newBudget("1", "", map[string]time.Duration{"p0": time.Minute}), pods: "rrr",
			expected: 3, desired: 1, healthy: 2, allowed: 1, disrupted: 1, again: time.Minute + time.Millisecond,
		},
		{
			name: "the next look is when the first eviction is too old", budget: newBudget("0", "", map[string]time.Duration{"p0": time.Minute, "p1": 90 * time.Second}), pods: "rr",
			expected: 2, disrupted: 2, again: 30*time.Second + time.Millisecond,
		},
		{
			name: "an evicted pod that nobody deletes counts again", budget: newBudget("1", "", map[string]time.Duration{"p0": 3 * time.Minute}), pods: "rr",
			expected: 2, desired: 1, healthy: 2, allowed: 1, late: 1,
		},
		{
			name: "an evicted pod is forgotten when it is being deleted or gone", budget: newBudget("0", "", map[string]time.Duration{"p0": time.Second, "p9": time.Second}), pods: "dr",
			expected: 2, healthy: 1, allowed: 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			of := owned{Scales: map[types.UID]int32{}}
			for i, n := range c.scales {
				of.Scales[types.UID(fmt.Sprint(i))] = n
			}
			o, err := plan(c.budget, newPods(c.pods), of, noon)
			if err != nil {
				t.Fatal(err)
			}
			s := o.Status
			got := []any{s.ExpectedPods, s.DesiredHealthy, s.CurrentHealthy, s.DisruptionsAllowed, len(s.DisruptedPods), len(o.NotDeleted), o.Again, s.ObservedGeneration}
			want := []any{c.expected, c.desired, c.healthy, c.allowed, c.disrupted, c.late, c.again, int64(3)}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("expected, desired, healthy, allowed, disrupted, late, again, generation\ngot  %v\nwant %v", got, want)
			}
			condition, reason := metav1.ConditionFalse, policyv1.InsufficientPodsReason
			if c.allowed > 0 {
				condition, reason = metav1.ConditionTrue, policyv1.SufficientPodsReason
			}
			if len(s.Conditions) != 1 || s.Conditions[0].Status != condition || s.Conditions[0].Reason != reason {
				t.Errorf("conditions: got %+v, want %s because of %s", s.Conditions, condition, reason)
			}
			again := c.budget.DeepCopy()
			again.Status = s
			if o, err := plan(again, newPods(c.pods), of, noon); err != nil || o.Changed {
				t.Errorf("planned again it changes: %+v, %v", o, err)
			}
		})
	}
}

func TestABoundThatIsNoNumberIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := plan(newBudget("", "many", nil), newPods("r"), owned{}, noon); err == nil {
		t.Error("no error for maxUnavailable: many")
	}
}

func TestOwnersAreLookedUpOnceEach(t *testing.T) {
	t.Parallel()
	yes := true
	controlledBy := func(p *corev1.Pod, uid types.UID) {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: string(uid), UID: uid, Controller: &yes}}
	}
	pods := newPods("rrrrr")
	controlledBy(pods[0], "a")
	controlledBy(pods[1], "a")
	controlledBy(pods[2], "b")
	controlledBy(pods[3], "c")
	asked := 0
	of, err := group(pods, func(owner *metav1.OwnerReference, _ string) (*scale, error) {
		asked++
		if owner.UID == "a" {
			return &scale{"a", 2}, nil
		}
		return &scale{"top", 7}, nil // b and c belong to one
	})
	if err != nil || asked != 3 || len(of.Scales) != 2 || of.Scales["a"] != 2 || of.Scales["top"] != 7 || len(of.Unmanaged) != 1 || of.Unmanaged[0] != "p4" {
		t.Errorf("got %+v after %d questions, %v", of, asked, err)
	}
	_, err = group(pods, func(*metav1.OwnerReference, string) (*scale, error) { return nil, nil })
	if err == nil || err.Error() != `found no controllers for pod "p0"` {
		t.Errorf("an owner that is not there: got %v", err)
	}
}

func TestABudgetThatCannotBeCountedAllowsNothing(t *testing.T) {
	t.Parallel()
	b := newBudget("1", "", nil)
	b.Status.DisruptionsAllowed, b.Status.CurrentHealthy = 2, 3
	o := failed(b, errors.New("no scale"))
	if c := o.Status.Conditions; !o.Changed || o.Status.DisruptionsAllowed != 0 || o.Status.CurrentHealthy != 3 || len(c) != 1 || c[0].Reason != policyv1.SyncFailedReason || c[0].Message != "no scale" {
		t.Errorf("got %+v", o)
	}
	b.Status = o.Status
	if failed(b, errors.New("no scale")).Changed {
		t.Error("the same failure is written twice")
	}
}

func TestADisruptionThatDoesNotComeIsStale(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*corev1.Pod, *corev1.PodCondition)
		wait   time.Duration
		is     bool
	}{
		{"announced a minute ago it may still come", func(*corev1.Pod, *corev1.PodCondition) {}, time.Minute, true},
		{"after two minutes it will not", func(_ *corev1.Pod, c *corev1.PodCondition) {
			c.LastTransitionTime = metav1.NewTime(noon.Add(-time.Hour))
		}, 0, true},
		{"taken back it is no more", func(_ *corev1.Pod, c *corev1.PodCondition) { c.Status = corev1.ConditionFalse }, 0, false},
		{"a kubelet's takes its time", func(_ *corev1.Pod, c *corev1.PodCondition) { c.Reason = corev1.PodReasonTerminationByKubelet }, 0, false},
		{"a pod being deleted has come to it", func(p *corev1.Pod, _ *corev1.PodCondition) { at := metav1.NewTime(noon); p.DeletionTimestamp = &at }, 0, false},
		{"a pod that has ended too", func(p *corev1.Pod, _ *corev1.PodCondition) { p.Status.Phase = corev1.PodFailed }, 0, false},
		{"other conditions say nothing", func(_ *corev1.Pod, c *corev1.PodCondition) { c.Type = corev1.PodScheduled }, 0, false},
	} {
		p := newPods("r")[0]
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(noon.Add(-time.Minute))}}
		c.change(p, &p.Status.Conditions[0])
		if wait, is := stale(p, noon); wait != c.wait || is != c.is {
			t.Errorf("%s: got %v, %v, want %v, %v", c.name, wait, is, c.wait, c.is)
		}
	}
}
