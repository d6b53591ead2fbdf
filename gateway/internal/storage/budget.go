package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/component-helpers/apps/poddisruptionbudget"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/policy"

	"kubus.dev/gateway/internal/resource"
)

// maxDisrupted is upstream's limit of evictions that a budget's controller has not
// confirmed yet.
const maxDisrupted = 2000

// budgets are the PodDisruptionBudgets, whose status says how many pods may go.
type budgets struct {
	store *Store // that writes status
	now   func() time.Time
}

func (s *Set) budgets() budgets {
	kind := s.builtIn(budgetsGVR)
	return budgets{s.Store(kind).With(kind.Strategies(s.others()).Parts["status"]), s.backend.now}
}

// of gives the budgets that guard a pod, as of now on every gateway.
func (b budgets) of(ctx context.Context, pod *api.Pod) ([]*policy.PodDisruptionBudget, error) {
	if _, err := b.store.backend.Log.Barrier(ctx, b.store.kind.GR()); err != nil {
		return nil, apiError(err, b.store.kind.GroupResource(), "")
	}
	list, err := b.store.List(request.WithNamespace(ctx, pod.Namespace), nil)
	if err != nil {
		return nil, err
	}
	var out []*policy.PodDisruptionBudget
	for i := range list.(*policy.PodDisruptionBudgetList).Items {
		budget := &list.(*policy.PodDisruptionBudgetList).Items[i]
		selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
		if err == nil && selector.Matches(labels.Set(pod.Labels)) {
			out = append(out, budget)
		}
	}
	return out, nil
}

// take counts the pod's eviction against a budget, or says why it cannot be. A lost
// race is decided anew on what the winner wrote.
func (b budgets) take(ctx context.Context, name string, pod *api.Pod, dryRun bool) error {
	options := &metav1.UpdateOptions{}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	info := rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		return taken(old.(*policy.PodDisruptionBudget), pod.Name, b.now())
	})
	_, _, err := b.store.Update(b.context(ctx, pod.Namespace, name), name, info, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, options)
	return err
}

// context is that of a request which would write the budget's status: validation
// goes by the version that it names.
func (b budgets) context(ctx context.Context, namespace, name string) context.Context {
	gvr := b.store.kind.GVR
	return request.WithRequestInfo(request.WithNamespace(ctx, namespace), &request.RequestInfo{
		IsResourceRequest: true, Verb: "update", APIGroup: gvr.Group, APIVersion: gvr.Version,
		Resource: gvr.Resource, Subresource: "status", Namespace: namespace, Name: name,
	})
}

// sparesUnready says whether a budget lets a pod go because it is not ready and so
// does not count: nothing is taken from the budget then.
func sparesUnready(budget *policy.PodDisruptionBudget, pod *api.Pod) bool {
	if podutil.IsPodReady(pod) {
		return false
	}
	if p := budget.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policy.AlwaysAllow {
		return true
	}
	return budget.Status.CurrentHealthy >= budget.Status.DesiredHealthy && budget.Status.DesiredHealthy > 0
}

// taken gives the budget with one disruption less, that of the pod.
func taken(budget *policy.PodDisruptionBudget, pod string, now time.Time) (*policy.PodDisruptionBudget, error) {
	out := &policyv1.PodDisruptionBudget{}
	if err := resource.Scheme.Convert(budget, out, nil); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if err := refusal(out); err != nil {
		return nil, err
	}
	out.Status.DisruptionsAllowed--
	if out.Status.DisruptionsAllowed == 0 {
		poddisruptionbudget.UpdateDisruptionAllowedCondition(out)
	}
	// Until its controller sees the pod go, the budget does not count it as available.
	if out.Status.DisruptedPods == nil {
		out.Status.DisruptedPods = map[string]metav1.Time{}
	}
	out.Status.DisruptedPods[pod] = metav1.NewTime(now)
	result := &policy.PodDisruptionBudget{}
	if err := resource.Scheme.Convert(out, result, nil); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return result, nil
}

// refusal is why a budget allows no disruption now, in upstream's words; nil: it does.
func refusal(budget *policyv1.PodDisruptionBudget) error {
	switch status := &budget.Status; {
	case status.ObservedGeneration < budget.Generation:
		return beingProcessed(budget.Name)
	case status.DisruptionsAllowed < 0:
		return forbidden(budget.Name, "pdb disruptions allowed is negative", "pdb disruptions allowed is negative")
	case len(status.DisruptedPods) > maxDisrupted:
		return forbidden(budget.Name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
			"too many pending evictions not confirmed by PDB controller")
	case status.DisruptionsAllowed == 0:
		return becauseOf(apierrors.NewTooManyRequests(violation, 0), exhausted(budget))
	}
	return nil
}

const violation = "Cannot evict pod as it would violate the pod's disruption budget."

// exhausted says what a budget lacks that allows nothing.
func exhausted(budget *policyv1.PodDisruptionBudget) string {
	condition := meta.FindStatusCondition(budget.Status.Conditions, policyv1.DisruptionAllowedCondition)
	told := condition != nil && condition.Status == metav1.ConditionFalse && condition.Message != ""
	switch {
	// After a failed sync the numbers mean nothing.
	case told && condition.Reason == policyv1.SyncFailedReason:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", budget.Name, condition.Message)
	case budget.Status.CurrentHealthy <= budget.Status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", budget.Name, budget.Status.DesiredHealthy, budget.Status.CurrentHealthy)
	case told:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", budget.Name, condition.Reason, condition.Message)
	}
	return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", budget.Name)
}

// beingProcessed asks the client to come again when the budget is up to date.
func beingProcessed(name string) error {
	return becauseOf(apierrors.NewTooManyRequests(violation, 10), fmt.Sprintf("The disruption budget %s is still being processed by the server.", name))
}

func forbidden(name, reason, cause string) error {
	return becauseOf(apierrors.NewForbidden(policy.Resource("poddisruptionbudget"), name, errors.New(reason)),
		fmt.Sprintf("The disruption budget %s does not allow evicting pods currently: %s", name, cause))
}

// becauseOf adds the cause by which clients tell a budget's refusal from others.
func becauseOf(err *apierrors.StatusError, message string) error {
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: message})
	return err
}
