package devicetaint

import (
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// counts are what a rule's condition tells of. For a rule without effect they are
// what they would be if it had one.
type counts struct {
	Pods, Namespaces     int // to be evicted
	Evicted              int // since this controller began
	Published, Allocated int // devices; counted for rules without effect only
}

// conditionOf says what comes of a rule, in upstream's words.
func conditionOf(r *rule, n counts) metav1.Condition {
	c := metav1.Condition{Type: resourcev1.DeviceTaintConditionEvictionInProgress, Status: metav1.ConditionFalse, ObservedGeneration: r.Generation}
	switch r.Spec.Taint.Effect {
	case resourcev1.DeviceTaintEffectNoExecute:
		switch {
		case n.Pods > 0:
			c.Status, c.Reason = metav1.ConditionTrue, "PodsPendingEviction"
			c.Message = number(n.Pods, "pod needs", "pods need") + " to be evicted in " + number(n.Namespaces, "namespace", "different namespaces") + "."
		case n.Evicted > 0:
			c.Reason = "Completed"
		default:
			c.Reason = "NotStarted"
		}
	case resourcev1.DeviceTaintEffectNone:
		c.Reason = "NoEffect"
		c.Message = number(n.Published, "published device", "published devices") + " selected. " +
			number(n.Allocated, "allocated device", "allocated devices") + " selected. " +
			number(n.Pods, "pod", "pods") + " would be evicted in " + number(n.Namespaces, "namespace", "different namespaces") +
			" if the effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to trigger an update."
	default:
		c.Reason, c.Message = "OtherEffect", "Eviction only happens for the NoExecute effect."
	}
	if n.Evicted > 0 {
		if c.Message != "" {
			c.Message += " "
		}
		c.Message += number(n.Evicted, "pod", "pods") + " evicted since starting the controller."
	}
	return c
}

func number(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
