package podautoscaler

import (
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// history is what an autoscaler remembers from one look to the next, in memory: a new
// leader begins with none, so that it holds the present size for a stabilization window.
type history struct {
	recommended []recommendation
	up, down    []change
}

// recommendation is what the metrics alone asked for.
type recommendation struct {
	at       time.Time
	replicas int32
}

// change is a scaling that was done; by is never negative.
type change struct {
	at time.Time
	by int32
}

// begin remembers the present size as the first recommendation.
func (h *history) begin(current int32, now time.Time) {
	if len(h.recommended) == 0 {
		h.recommended = []recommendation{{now, current}}
	}
}

// recommend notes one more, and forgets those that nothing asks for any more.
func (h *history) recommend(replicas int32, now time.Time, keep time.Duration) {
	kept := h.recommended[:0]
	for _, r := range h.recommended {
		if !r.at.Before(now.Add(-keep)) {
			kept = append(kept, r)
		}
	}
	h.recommended = append(kept, recommendation{now, replicas})
}

// scaled notes a scaling that was done; b tells how long it counts.
func (h *history) scaled(b *autoscalingv2.HorizontalPodAutoscalerBehavior, from, to int32, now time.Time) {
	if b == nil {
		return // nobody will ask
	}
	if to > from {
		h.up = append(recent(h.up, longest(b), now), change{now, to - from})
	} else {
		h.down = append(recent(h.down, longest(b), now), change{now, from - to})
	}
}

func recent(changes []change, period time.Duration, now time.Time) []change {
	kept := changes[:0]
	for _, c := range changes {
		if !c.at.Before(now.Add(-period)) {
			kept = append(kept, c)
		}
	}
	return kept
}

// longest is the longest period of a policy of either direction.
func longest(b *autoscalingv2.HorizontalPodAutoscalerBehavior) time.Duration {
	var most int32
	for _, rules := range []*autoscalingv2.HPAScalingRules{b.ScaleUp, b.ScaleDown} {
		if rules == nil {
			continue
		}
		for _, p := range rules.Policies {
			most = max(most, p.PeriodSeconds)
		}
	}
	return time.Duration(most) * time.Second
}

// start is the size that the target had a policy's period ago.
func (h *history) start(current, periodSeconds int32, now time.Time) int32 {
	after := now.Add(-time.Duration(periodSeconds) * time.Second)
	for _, c := range h.up {
		if c.at.After(after) {
			current -= c.by
		}
	}
	for _, c := range h.down {
		if c.at.After(after) {
			current += c.by
		}
	}
	return current
}

// ceiling is the most replicas that the rules let a target grow to now.
func (h *history) ceiling(current int32, rules *autoscalingv2.HPAScalingRules, now time.Time) int32 {
	return h.bound(current, rules, now, func(start int32, p autoscalingv2.HPAScalingPolicy) int32 {
		if p.Type == autoscalingv2.PercentScalingPolicy {
			// Rounded up: a part of a pod must not keep the target small for ever.
			return ceil(float64(start) * (1 + float64(p.Value)/100))
		}
		return start + p.Value
	}, 1)
}

// floor is the fewest replicas that the rules let a target shrink to now.
func (h *history) floor(current int32, rules *autoscalingv2.HPAScalingRules, now time.Time) int32 {
	return h.bound(current, rules, now, func(start int32, p autoscalingv2.HPAScalingPolicy) int32 {
		if p.Type == autoscalingv2.PercentScalingPolicy {
			return int32(float64(start) * (1 - float64(p.Value)/100))
		}
		return start - p.Value
	}, -1)
}

// bound asks each policy and selects: by Max the one that allows the largest change in the
// direction (1 is up), by Min the smallest; Disabled allows none.
func (h *history) bound(current int32, rules *autoscalingv2.HPAScalingRules, now time.Time, allowed func(int32, autoscalingv2.HPAScalingPolicy) int32, direction int64) int32 {
	selection := autoscalingv2.MaxChangePolicySelect
	if rules == nil { // the API fills them in
		rules = &autoscalingv2.HPAScalingRules{}
	}
	if rules.SelectPolicy != nil {
		selection = *rules.SelectPolicy
	}
	if selection == autoscalingv2.DisabledPolicySelect {
		return current
	}
	largest := (selection == autoscalingv2.MinChangePolicySelect) != (direction > 0)
	result := int32(math.MaxInt32)
	if largest {
		result = math.MinInt32
	}
	for _, p := range rules.Policies {
		n := allowed(h.start(current, p.PeriodSeconds, now), p)
		if largest {
			result = max(result, n)
		} else {
			result = min(result, n)
		}
	}
	return result
}
