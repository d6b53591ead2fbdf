package storage

import (
	"strings"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/policy"
)

func TestRefusal(t *testing.T) {
	t.Parallel()
	condition := func(reason, message string) []metav1.Condition {
		return []metav1.Condition{{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: reason, Message: message}}
	}
	many := map[string]metav1.Time{}
	for i := range maxDisrupted + 1 {
		many[strings.Repeat("p", i+1)] = metav1.Time{}
	}
	for _, c := range []struct {
		name       string
		status     policyv1.PodDisruptionBudgetStatus
		reason     metav1.StatusReason // "": no refusal
		retryAfter int32
		cause      string
	}{
		{"a budget with a disruption left lets the pod go", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DisruptionsAllowed: 1}, "", 0, ""},
		{"a status of an older spec is not believed", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 1}, metav1.StatusReasonTooManyRequests, 10,
			"The disruption budget b is still being processed by the server."},
		{"a negative number is an error", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DisruptionsAllowed: -1}, metav1.StatusReasonForbidden, 0,
			"The disruption budget b does not allow evicting pods currently: pdb disruptions allowed is negative"},
		{"too many unconfirmed evictions", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DisruptionsAllowed: 1, DisruptedPods: many}, metav1.StatusReasonForbidden, 0,
			"The disruption budget b does not allow evicting pods currently: too many pending evictions not confirmed by PDB controller"},
		{"too few healthy pods", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DesiredHealthy: 3, CurrentHealthy: 2}, metav1.StatusReasonTooManyRequests, 0,
			"The disruption budget b needs 3 healthy pods and has 2 currently"},
		{"the controller's sync failed: its numbers mean nothing", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DesiredHealthy: 3, CurrentHealthy: 2,
			Conditions: condition(policyv1.SyncFailedReason, "no scale")}, metav1.StatusReasonTooManyRequests, 0,
			"The disruption budget b does not allow evicting pods currently because it failed sync: no scale"},
		{"healthy enough, and the condition says why not", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DesiredHealthy: 1, CurrentHealthy: 2,
			Conditions: condition("Waiting", "for somebody")}, metav1.StatusReasonTooManyRequests, 0,
			"The disruption budget b does not allow evicting pods currently (Waiting): for somebody"},
		{"healthy enough, and nobody says why not", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DesiredHealthy: 1, CurrentHealthy: 2}, metav1.StatusReasonTooManyRequests, 0,
			"The disruption budget b does not allow evicting pods currently"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := refusal(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b", Generation: 2}, Status: c.status})
			if c.reason == "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			status, ok := err.(apierrors.APIStatus)
			if !ok || apierrors.ReasonForError(err) != c.reason {
				t.Fatalf("got %v, want %s", err, c.reason)
			}
			details := status.Status().Details
			if last := details.Causes[len(details.Causes)-1]; last.Type != policyv1.DisruptionBudgetCause || last.Message != c.cause {
				t.Errorf("got %+v, want %s", last, c.cause)
			}
			if details.RetryAfterSeconds != c.retryAfter {
				t.Errorf("got a retry after %d, want %d", details.RetryAfterSeconds, c.retryAfter)
			}
		})
	}
}

func TestTaken(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	before := &policy.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Status: policy.PodDisruptionBudgetStatus{DisruptionsAllowed: 1, CurrentHealthy: 2, DesiredHealthy: 1}}
	after, err := taken(before, "p", now)
	if err != nil {
		t.Fatal(err)
	}
	if after.Status.DisruptionsAllowed != 0 || !after.Status.DisruptedPods["p"].Time.Equal(now) {
		t.Errorf("got %+v", after.Status)
	}
	if len(after.Status.Conditions) != 1 || after.Status.Conditions[0].Status != metav1.ConditionFalse {
		t.Errorf("the last one was taken, and the condition is %+v", after.Status.Conditions)
	}
	if before.Status.DisruptionsAllowed != 1 || before.Status.DisruptedPods != nil {
		t.Errorf("the budget itself was changed: %+v", before.Status)
	}
	if _, err := taken(after, "q", now); !apierrors.IsTooManyRequests(err) {
		t.Errorf("a second one: got %v", err)
	}
}

func TestSparesUnready(t *testing.T) {
	t.Parallel()
	always, ifHealthy := policy.AlwaysAllow, policy.IfHealthyBudget
	ready := api.PodStatus{Conditions: []api.PodCondition{{Type: api.PodReady, Status: api.ConditionTrue}}}
	for _, c := range []struct {
		name          string
		pod           api.PodStatus
		policy        *policy.UnhealthyPodEvictionPolicyType
		have, desired int32
		want          bool
	}{
		{"a ready pod counts, whatever the policy", ready, &always, 2, 1, false},
		{"AlwaysAllow lets an unready pod go from a disrupted application", api.PodStatus{}, &always, 0, 1, true},
		{"by default an unready pod goes if the others suffice", api.PodStatus{}, nil, 1, 1, true},
		{"by default it stays if they do not", api.PodStatus{}, nil, 0, 1, false},
		{"IfHealthyBudget is the default", api.PodStatus{}, &ifHealthy, 1, 1, true},
		{"a budget that wants none says nothing of health", api.PodStatus{}, &ifHealthy, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			budget := &policy.PodDisruptionBudget{Spec: policy.PodDisruptionBudgetSpec{UnhealthyPodEvictionPolicy: c.policy},
				Status: policy.PodDisruptionBudgetStatus{CurrentHealthy: c.have, DesiredHealthy: c.desired}}
			if got := sparesUnready(budget, &api.Pod{Status: c.pod}); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
