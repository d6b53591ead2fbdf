package disruption

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/component-helpers/apps/poddisruptionbudget"

	"kubus.dev/services/controllers/internal/pod"
)

const (
	// deletionTimeout is how long an evicted pod counts as gone though nobody has
	// deleted it yet.
	deletionTimeout = 2 * time.Minute
	// staleTimeout is how long a pod may be the target of a disruption that does not come.
	staleTimeout = 2 * time.Minute
)

// scale is how many pods an owner is to have.
type scale struct {
	UID      types.UID
	Replicas int32
}

// owned are the pods of a budget by what answers for them.
type owned struct {
	// Scales has one entry for each owner; several pods share one.
	Scales map[types.UID]int32
	// Unmanaged are the names of the pods that nobody controls.
	Unmanaged []string
}

// outcome is what is to be said of a budget.
type outcome struct {
	Status policyv1.PodDisruptionBudgetStatus
	// Changed is false when the status says it all already.
	Changed bool
	// NotDeleted were to be gone by now.
	NotDeleted []*corev1.Pod
	// Again is when the next evicted pod counts as healthy again; zero for never.
	Again time.Duration
}

// needsScale is true of budgets whose numbers follow from what owners want, not from
// the pods that are there.
func needsScale(budget *policyv1.PodDisruptionBudget) bool {
	return budget.Spec.MaxUnavailable != nil || budget.Spec.MinAvailable != nil && budget.Spec.MinAvailable.Type == intstr.String
}

// plan counts the pods that a budget selects. of is of no use to budgets that need
// no scale. The error is one of the budget's spec.
func plan(budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod, of owned, now time.Time) (outcome, error) {
	expected, desired, err := expectation(budget, pods, of)
	if err != nil {
		return outcome{}, err
	}
	var o outcome
	disrupted := map[string]metav1.Time{}
	healthy := int32(0)
	for _, p := range pods {
		if p.DeletionTimestamp != nil {
			continue
		}
		if at, ok := budget.Status.DisruptedPods[p.Name]; ok {
			if left := at.Add(deletionTimeout).Sub(now); left >= 0 {
				disrupted[p.Name] = at
				if left += time.Millisecond; o.Again == 0 || left < o.Again {
					o.Again = left
				}
				continue
			}
			o.NotDeleted = append(o.NotDeleted, p)
		}
		if pod.Ready(p) {
			healthy++
		}
	}
	allowed := healthy - desired
	if expected <= 0 || allowed <= 0 { // of no pods none may go: the first may come any moment
		allowed = 0
	}
	next := budget.DeepCopy()
	next.Status = policyv1.PodDisruptionBudgetStatus{
		ObservedGeneration: budget.Generation, CurrentHealthy: healthy, DesiredHealthy: desired, ExpectedPods: expected,
		DisruptionsAllowed: allowed, DisruptedPods: disrupted, Conditions: next.Status.Conditions,
	}
	poddisruptionbudget.UpdateDisruptionAllowedCondition(next)
	o.Status = next.Status
	o.Changed = !sameCounts(&budget.Status, &o.Status) || !poddisruptionbudget.ConditionsAreUpToDate(budget)
	return o, nil
}

func sameCounts(a, b *policyv1.PodDisruptionBudgetStatus) bool {
	return a.ObservedGeneration == b.ObservedGeneration && a.CurrentHealthy == b.CurrentHealthy && a.DesiredHealthy == b.DesiredHealthy &&
		a.ExpectedPods == b.ExpectedPods && a.DisruptionsAllowed == b.DisruptionsAllowed && equality.Semantic.DeepEqual(a.DisruptedPods, b.DisruptedPods)
}

// expectation is how many pods there should be, and how many of them healthy.
func expectation(budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod, of owned) (expected, desired int32, err error) {
	if !needsScale(budget) {
		if budget.Spec.MinAvailable == nil {
			return 0, 0, nil
		}
		return int32(len(pods)), budget.Spec.MinAvailable.IntVal, nil
	}
	for _, replicas := range of.Scales {
		expected += replicas
	}
	bound := budget.Spec.MaxUnavailable
	if bound == nil {
		bound = budget.Spec.MinAvailable
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(bound, int(expected), true)
	if err != nil {
		return 0, 0, err
	}
	if budget.Spec.MaxUnavailable == nil {
		return expected, int32(n), nil
	}
	return expected, max(0, expected-int32(n)), nil
}

// group finds the owners of the pods, each once, by lookUp, which gives nil for one
// that is not there.
func group(pods []*corev1.Pod, lookUp func(owner *metav1.OwnerReference, namespace string) (*scale, error)) (owned, error) {
	of := owned{Scales: map[types.UID]int32{}}
	for _, p := range pods {
		owner := metav1.GetControllerOfNoCopy(p)
		if owner == nil {
			of.Unmanaged = append(of.Unmanaged, p.Name)
			continue
		}
		if _, known := of.Scales[owner.UID]; known {
			continue
		}
		found, err := lookUp(owner, p.Namespace)
		if err != nil {
			return of, err
		}
		if found == nil {
			return of, fmt.Errorf("found no controllers for pod %q", p.Name)
		}
		of.Scales[found.UID] = found.Replicas
	}
	return of, nil
}

// failed is the status of a budget that could not be counted: nobody may go.
func failed(budget *policyv1.PodDisruptionBudget, why error) outcome {
	next := budget.DeepCopy()
	next.Status.DisruptionsAllowed = 0
	apimeta.SetStatusCondition(&next.Status.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason,
		Message: why.Error(), ObservedGeneration: next.Status.ObservedGeneration,
	})
	return outcome{Status: next.Status, Changed: !equality.Semantic.DeepEqual(budget.Status, next.Status)}
}

// stale tells whether a pod has been named the target of a disruption that has not
// come, and how long that may still be so. What a kubelet said of its own doing
// stands, however long that takes.
func stale(p *corev1.Pod, now time.Time) (wait time.Duration, is bool) {
	if p.DeletionTimestamp != nil || pod.Terminal(p) {
		return 0, false
	}
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		if c.Type != corev1.DisruptionTarget {
			continue
		}
		if c.Status != corev1.ConditionTrue || c.Reason == corev1.PodReasonTerminationByKubelet {
			return 0, false
		}
		return max(0, c.LastTransitionTime.Add(staleTimeout).Sub(now)), true
	}
	return 0, false
}
