package podautoscaler

import (
	"fmt"
	"slices"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// Settings are what clusters set for all autoscalers; the defaults are upstream's.
type Settings struct {
	Tolerance         float64
	CPUInitialization time.Duration // for so long a pod's CPU may be that of its start
	InitialReadiness  time.Duration // a pod that fell unready within it was never ready
	Stabilization     time.Duration // of shrinking
}

// DefaultSettings are upstream's.
var DefaultSettings = Settings{Tolerance: 0.1, CPUInitialization: 5 * time.Minute, InitialReadiness: 30 * time.Second, Stabilization: 5 * time.Minute}

// Tolerances are those of an autoscaler: its own, or the clusters'.
func (s Settings) tolerances(h *autoscalingv2.HorizontalPodAutoscaler) tolerances {
	t := tolerances{s.Tolerance, s.Tolerance}
	if b := h.Spec.Behavior; b != nil {
		if b.ScaleDown != nil && b.ScaleDown.Tolerance != nil {
			t.down = b.ScaleDown.Tolerance.AsApproximateFloat64()
		}
		if b.ScaleUp != nil && b.ScaleUp.Tolerance != nil {
			t.up = b.ScaleUp.Tolerance.AsApproximateFloat64()
		}
	}
	return t
}

// course is what a target's present size leads to before anybody reads metrics.
type course int

const (
	courseUnknown  course = iota
	courseMeasure         // metrics decide
	courseStay            // somebody has turned the target off
	courseToLimits        // outside of them: there at once
)

// begin chooses the course; for courseToLimits with the size and why.
func begin(h *autoscalingv2.HorizontalPodAutoscaler, current int32) (course, int32, string) {
	least := least(h)
	switch {
	case current == 0:
		// To and from zero it goes only by metrics that are there without pods.
		own := scaledToZero(&h.Status)
		if own && (least != 0 || ofTheWhole(h)) {
			return courseMeasure, 0, ""
		}
		return courseStay, 0, ""
	case current > h.Spec.MaxReplicas:
		return courseToLimits, h.Spec.MaxReplicas, "Current number of replicas above Spec.MaxReplicas"
	case current < least:
		return courseToLimits, least, belowMin
	}
	return courseMeasure, 0, ""
}

const belowMin = "Current number of replicas below Spec.MinReplicas"

func least(h *autoscalingv2.HorizontalPodAutoscaler) int32 {
	if h.Spec.MinReplicas != nil {
		return *h.Spec.MinReplicas
	}
	return 1
}

// ofTheWhole tells that a metric needs no pods.
func ofTheWhole(h *autoscalingv2.HorizontalPodAutoscaler) bool {
	return slices.ContainsFunc(h.Spec.Metrics, func(m autoscalingv2.MetricSpec) bool {
		return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	})
}

// ofPodsUse tells that a metric is read from metrics.k8s.io.
func ofPodsUse(h *autoscalingv2.HorizontalPodAutoscaler) bool {
	return slices.ContainsFunc(h.Spec.Metrics, func(m autoscalingv2.MetricSpec) bool {
		return m.Type == autoscalingv2.ResourceMetricSourceType || m.Type == autoscalingv2.ContainerResourceMetricSourceType
	})
}

// judgement is what all metrics together ask for.
type judgement struct {
	replicas int32
	metric   string // the one that counts
	statuses []autoscalingv2.MetricStatus
	refused  []*refusal
	// err is why nothing is to be done, or, where something is, what failed beside it.
	err     error
	nothing bool
}

// judge weighs all metrics: the most replicas count. When one cannot be read, nothing
// shrinks, since it might ask for more.
func judge(specs []autoscalingv2.MetricSpec, readings []reading, t target, s Settings, now time.Time) judgement {
	j := judgement{statuses: make([]autoscalingv2.MetricStatus, len(specs))}
	for i := range specs {
		v, refused := evaluate(&specs[i], readings[i], t, s, now)
		if refused != nil {
			j.refused = append(j.refused, refused)
			continue
		}
		j.statuses[i] = v.status
		if j.replicas == 0 || v.replicas > j.replicas {
			j.replicas, j.metric = v.replicas, v.name
		}
	}
	if n := len(j.refused); n > 0 {
		j.err = fmt.Errorf("invalid metrics (%d invalid out of %d), first error is: %w", n, len(specs), j.refused[0].told)
		j.nothing = n >= len(specs) || j.replicas < t.spec
	}
	return j
}

// resize is the size that a judgement leads to, and why; it notes in the history what was
// recommended and in the status what holds or limits it.
func resize(h *autoscalingv2.HorizontalPodAutoscaler, past *history, current int32, j judgement, s Settings, now time.Time) (replicas int32, why string) {
	wanted := max(j.replicas, 0)
	switch {
	case wanted > current:
		why = j.metric + " above target"
	case wanted < current:
		why = "All metrics below target"
	}
	l := limits{least(h), h.Spec.MaxReplicas}
	var b bounded
	if h.Spec.Behavior == nil {
		b = byDefault(past, current, wanted, l, s.Stabilization, now)
	} else {
		b = byBehavior(past, current, wanted, l, h.Spec.Behavior, s.Stabilization, now)
	}
	setCondition(&h.Status, autoscalingv2.AbleToScale, true, b.able, now)
	setCondition(&h.Status, autoscalingv2.ScalingLimited, b.limited, b.limits, now)
	if current == 0 && b.replicas < l.least {
		b.replicas = l.least
		if why == "" {
			why = belowMin
		}
	}
	return b.replicas, why
}

// settle writes down a size that was set.
func settle(h *autoscalingv2.HorizontalPodAutoscaler, from, to int32, now time.Time) {
	setCondition(&h.Status, autoscalingv2.AbleToScale, true, reason{"SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", to)}, now)
	if from > 0 && to == 0 && least(h) == 0 && ofTheWhole(h) {
		setCondition(&h.Status, autoscalingv2.ScaledToZero, true, reason{"ScaledToZero", "the HPA controller scaled the workload to zero"}, now)
	} else {
		setCondition(&h.Status, autoscalingv2.ScaledToZero, false, reason{"NotScaledToZero", "the HPA controller did not scale the workload to zero"}, now)
	}
}

// targetOf is what an autoscaler's scale says of its target.
func targetOf(scale *autoscalingv1.Scale, t tolerances) target {
	return target{spec: scale.Spec.Replicas, status: scale.Status.Replicas, tolerances: t}
}
