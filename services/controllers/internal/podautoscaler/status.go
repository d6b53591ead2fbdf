package podautoscaler

import (
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// setCondition sets a condition, in the place that it has.
func setCondition(s *autoscalingv2.HorizontalPodAutoscalerStatus, kind autoscalingv2.HorizontalPodAutoscalerConditionType, holds bool, why reason, now time.Time) {
	status := corev1.ConditionFalse
	if holds {
		status = corev1.ConditionTrue
	}
	i := slices.IndexFunc(s.Conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool { return c.Type == kind })
	if i < 0 {
		s.Conditions = append(s.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{Type: kind})
		i = len(s.Conditions) - 1
	}
	c := &s.Conditions[i]
	if c.Status != status {
		c.LastTransitionTime = metav1.NewTime(now)
	}
	c.Status, c.Reason, c.Message = status, why.word, why.text
}

// scaledToZero tells that the autoscaler itself has brought its target to no replicas, and
// so may bring it back.
func scaledToZero(s *autoscalingv2.HorizontalPodAutoscalerStatus) bool {
	return slices.ContainsFunc(s.Conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool {
		return c.Type == autoscalingv2.ScaledToZero && c.Status == corev1.ConditionTrue
	})
}

// measuredEvery is how often values that are only measured are written: as often as
// upstream looks. What follows from them is written at once.
const measuredEvery = 15 * time.Second

// writable tells whether a status is to be written now, given when one was last.
func writable(old, fresh *autoscalingv2.HorizontalPodAutoscalerStatus, last, now time.Time) bool {
	if equality.Semantic.DeepEqual(old, fresh) {
		return false
	}
	if now.Sub(last) >= measuredEvery {
		return true
	}
	rest := *fresh
	rest.CurrentMetrics = old.CurrentMetrics
	return len(old.CurrentMetrics) != len(fresh.CurrentMetrics) || !equality.Semantic.DeepEqual(old, &rest)
}
