package aggregate

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	internal "k8s.io/kube-aggregator/pkg/apis/apiregistration"
)

func TestAConditionThatIsThereIsNotWrittenAgain(t *testing.T) {
	t.Parallel()
	at := func(second int64) metav1.Time { return metav1.NewTime(time.Unix(second, 0)) }
	want := internal.APIServiceCondition{Type: internal.Available, Status: internal.ConditionFalse, Reason: "ServiceNotFound", Message: "not present", LastTransitionTime: at(1)}
	first := conditioned(&internal.APIService{}, want)
	if len(first.Status.Conditions) != 1 || len(first.ManagedFields) != 1 || first.ManagedFields[0].Subresource != "status" {
		t.Fatalf("got %+v", first)
	}
	want.LastTransitionTime = at(60) // a later check
	if again := conditioned(first, want); again != first {
		t.Errorf("what is so was changed to %+v", again)
	}
	cleared := first.DeepCopy()
	cleared.ManagedFields = nil
	if again := conditioned(cleared, want); again != cleared {
		t.Errorf("who owns a condition that is so was changed to %+v", again.ManagedFields)
	}
	want.Reason = "EndpointsNotFound"
	if next := conditioned(first, want); next.Status.Conditions[0].Reason != "EndpointsNotFound" || next.Status.Conditions[0].LastTransitionTime != at(1) || next.ManagedFields[0].Time.Unix() != 60 {
		t.Errorf("another reason: got %+v", next)
	}
}
