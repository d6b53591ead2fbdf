package podautoscaler

import (
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// bounded is a size within the rules, and what the conditions say of the way to it.
type bounded struct {
	replicas int32
	able     reason // AbleToScale, always true
	limits   reason // ScalingLimited
	limited  bool
}

type reason struct{ word, text string }

var (
	asRecommended = reason{"ReadyForNewScale", "recommended size matches current size"}
	heldUp        = reason{"ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation"}
	heldDown      = reason{"ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation"}
	withinRange   = reason{"DesiredWithinRange", "the desired count is within the acceptable range"}
	tooFast       = reason{"ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"}
	tooMany       = reason{"TooManyReplicas", "the desired replica count is more than the maximum replica count"}
	tooFastDown   = reason{"ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"}
	tooFew        = reason{"TooFewReplicas", "the desired replica count is less than the minimum replica count"}
)

// limits are an autoscaler's own.
type limits struct{ least, most int32 }

// Without a behavior, a target at most doubles at a time, or grows to this.
const (
	growthFactor = 2
	growthFree   = 4
)

// byDefault bounds what the metrics ask for where the autoscaler has no behavior.
func byDefault(h *history, current, wanted int32, l limits, window time.Duration, now time.Time) bounded {
	stable := wanted
	for _, r := range h.recommended {
		if !r.at.Before(now.Add(-window)) {
			stable = max(stable, r.replicas)
		}
	}
	h.recommend(wanted, now, window)
	b := bounded{able: asRecommended}
	if stable != wanted {
		b.able = heldUp
	}
	most, why := l.most, tooMany
	if fast := max(growthFactor*current, growthFree); l.most > fast {
		most, why = fast, tooFast
	}
	switch {
	case stable < l.least:
		b.replicas, b.limits = l.least, tooFew
	case stable > most:
		b.replicas, b.limits = most, why
	default:
		b.replicas, b.limits = stable, withinRange
	}
	b.limited = b.replicas != stable
	return b
}

// byBehavior bounds what the metrics ask for by the autoscaler's own rules. Where those
// for shrinking name no window, it is that of clusters.
func byBehavior(h *history, current, wanted int32, l limits, rules *autoscalingv2.HorizontalPodAutoscalerBehavior, window time.Duration, now time.Time) bounded {
	stable := h.stabilize(current, wanted, seconds(rules.ScaleUp, 0), seconds(rules.ScaleDown, window), now)
	b := bounded{able: asRecommended}
	switch {
	case stable == wanted:
	case wanted >= current:
		b.able = heldDown
	default:
		b.able = heldUp
	}
	b.replicas, b.limits = stable, withinRange
	switch {
	case stable > current:
		most, why := l.most, tooMany
		if fast := max(h.ceiling(current, rules.ScaleUp, now), current); l.most > fast {
			most, why = fast, tooFast
		}
		if stable > most {
			b.replicas, b.limits = most, why
		}
	case stable < current:
		least, why := l.least, tooFew
		if fast := min(h.floor(current, rules.ScaleDown, now), current); l.least < fast {
			least, why = fast, tooFastDown
		}
		if stable < least {
			b.replicas, b.limits = least, why
		}
	}
	b.limited = b.replicas != stable
	return b
}

// stabilize holds the present size between the lowest recommendation of the window for
// growing and the highest of that for shrinking, and notes what is wanted now.
func (h *history) stabilize(current, wanted int32, up, down time.Duration, now time.Time) int32 {
	low, high := wanted, wanted
	for _, r := range h.recommended {
		if r.at.After(now.Add(-up)) {
			low = min(low, r.replicas)
		}
		if r.at.After(now.Add(-down)) {
			high = max(high, r.replicas)
		}
	}
	h.recommend(wanted, now, max(up, down))
	return min(max(current, low), high)
}

func seconds(rules *autoscalingv2.HPAScalingRules, otherwise time.Duration) time.Duration {
	if rules == nil || rules.StabilizationWindowSeconds == nil {
		return otherwise
	}
	return time.Duration(*rules.StabilizationWindowSeconds) * time.Second
}
