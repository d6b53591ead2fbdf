package gateway

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const budgetPath = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"

// guardedPod makes a running pod that is ready or not, with a label.
func guardedPod(t *testing.T, g *running, name, app string, ready corev1.ConditionStatus) *corev1.Pod {
	t.Helper()
	p := pod(name)
	p.Labels = map[string]string{"app": app}
	must[corev1.Pod](t, g, "POST", podPath, p)
	must[metav1.Status](t, g, "POST", podPath+"/"+name+"/binding", &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}})
	return must[corev1.Pod](t, g, "PATCH", podPath+"/"+name+"/status",
		fmt.Sprintf(`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":%q}]}}`, ready), "application/strategic-merge-patch+json")
}

// budget makes a PodDisruptionBudget with a status, as its controller would.
func budget(t *testing.T, g *running, name, app string, unhealthy policyv1.UnhealthyPodEvictionPolicyType, allowed, current, desired int32) {
	t.Helper()
	one := intstr.FromInt32(1)
	b := must[policyv1.PodDisruptionBudget](t, g, "POST", budgetPath, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}, UnhealthyPodEvictionPolicy: &unhealthy}})
	b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: b.Generation, DisruptionsAllowed: allowed, CurrentHealthy: current, DesiredHealthy: desired, ExpectedPods: current}
	must[policyv1.PodDisruptionBudget](t, g, "PUT", budgetPath+"/"+name+"/status", b)
}

func evictionOf(name string) *policyv1.Eviction {
	return &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func TestBudgetsGuardPods(t *testing.T) {
	g := start(t)
	withAccount(t, g)
	evicted := func(name string) bool {
		return must[corev1.Pod](t, g, "GET", podPath+"/"+name, nil).DeletionTimestamp != nil
	}
	left := func(name string) policyv1.PodDisruptionBudgetStatus {
		return must[policyv1.PodDisruptionBudget](t, g, "GET", budgetPath+"/"+name, nil).Status
	}
	t.Run("a ready pod is counted, and the next is refused", func(t *testing.T) {
		guardedPod(t, g, "a1", "a", corev1.ConditionTrue)
		guardedPod(t, g, "a2", "a", corev1.ConditionTrue)
		budget(t, g, "a", "a", policyv1.IfHealthyBudget, 1, 2, 1)
		must[metav1.Status](t, g, "POST", podPath+"/a1/eviction?dryRun=All", evictionOf("a1"))
		if evicted("a1") || left("a").DisruptionsAllowed != 1 {
			t.Errorf("a dry run left %+v", left("a"))
		}
		must[metav1.Status](t, g, "POST", podPath+"/a1/eviction", evictionOf("a1"))
		if s := left("a"); !evicted("a1") || s.DisruptionsAllowed != 0 || len(s.DisruptedPods) != 1 {
			t.Errorf("got %+v", s)
		}
		_, err := g.do(t, "POST", podPath+"/a2/eviction", evictionOf("a2"))
		if !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) || evicted("a2") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("an unready pod goes by its policy and costs nothing", func(t *testing.T) {
		guardedPod(t, g, "b1", "b", corev1.ConditionFalse)
		guardedPod(t, g, "c1", "c", corev1.ConditionFalse)
		budget(t, g, "b", "b", policyv1.AlwaysAllow, 0, 0, 1)
		budget(t, g, "c", "c", policyv1.IfHealthyBudget, 0, 0, 1)
		must[metav1.Status](t, g, "POST", podPath+"/b1/eviction", evictionOf("b1"))
		if s := left("b"); !evicted("b1") || len(s.DisruptedPods) != 0 {
			t.Errorf("got %+v", s)
		}
		if _, err := g.do(t, "POST", podPath+"/c1/eviction", evictionOf("c1")); !apierrors.IsTooManyRequests(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a pod that never ran, or has ended, is not guarded", func(t *testing.T) {
		p := pod("d1")
		p.Labels = map[string]string{"app": "d"}
		must[corev1.Pod](t, g, "POST", podPath, p)
		budget(t, g, "d", "d", policyv1.IfHealthyBudget, 0, 1, 1)
		must[metav1.Status](t, g, "POST", podPath+"/d1/eviction", evictionOf("d1"))
	})
	t.Run("two budgets are one too many", func(t *testing.T) {
		guardedPod(t, g, "e1", "e", corev1.ConditionTrue)
		budget(t, g, "e", "e", policyv1.IfHealthyBudget, 1, 2, 1)
		budget(t, g, "f", "e", policyv1.IfHealthyBudget, 1, 2, 1)
		g.fails(t, "", "more than one PodDisruptionBudget", "POST", podPath+"/e1/eviction", evictionOf("e1"))
	})
	t.Run("preconditions that do not hold are a conflict", func(t *testing.T) {
		p := guardedPod(t, g, "g1", "g", corev1.ConditionTrue)
		old := "1"
		e := evictionOf("g1")
		e.DeleteOptions = &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &old}}
		g.fails(t, metav1.StatusReasonConflict, "the ResourceVersion in the precondition (1) does not match", "POST", podPath+"/g1/eviction", e)
		e.DeleteOptions.Preconditions.ResourceVersion = &p.ResourceVersion
		must[metav1.Status](t, g, "POST", podPath+"/g1/eviction", e)
	})
}

// TestABudgetIsNeverOverdrawn lets many evict at once what a budget spares two of.
func TestABudgetIsNeverOverdrawn(t *testing.T) {
	g := start(t)
	withAccount(t, g)
	const pods, spared = 8, 2
	for i := range pods {
		guardedPod(t, g, fmt.Sprintf("p%d", i), "p", corev1.ConditionTrue)
	}
	budget(t, g, "p", "p", policyv1.IfHealthyBudget, spared, pods, pods-spared)
	results := make(chan error, pods)
	for i := range pods {
		name := fmt.Sprintf("p%d", i)
		go func() {
			_, err := g.do(t, "POST", podPath+"/"+name+"/eviction", evictionOf(name))
			results <- err
		}()
	}
	gone := 0
	for range pods {
		switch err := <-results; {
		case err == nil:
			gone++
		case !apierrors.IsTooManyRequests(err):
			t.Errorf("got %v", err)
		}
	}
	left := must[policyv1.PodDisruptionBudget](t, g, "GET", budgetPath+"/p", nil).Status
	if gone != spared || left.DisruptionsAllowed != 0 || len(left.DisruptedPods) != spared {
		t.Errorf("%d went, %+v is left", gone, left)
	}
}
