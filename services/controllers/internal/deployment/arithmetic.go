package deployment

import (
	"math"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func rolling(d *appsv1.Deployment) bool {
	return d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType && d.Spec.Strategy.RollingUpdate != nil
}

// bounds resolves maxSurge (rounded up) and maxUnavailable (rounded down)
// together: both zero would stand still, so one may then be unavailable.
func bounds(d *appsv1.Deployment) (surge, unavailable int32) {
	zero := intstr.FromInt32(0)
	replicas := int(*d.Spec.Replicas)
	// Validation keeps malformed values out.
	s, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(d.Spec.Strategy.RollingUpdate.MaxSurge, zero), replicas, true)
	u, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(d.Spec.Strategy.RollingUpdate.MaxUnavailable, zero), replicas, false)
	if s == 0 && u == 0 {
		u = 1
	}
	return int32(s), int32(u)
}

func maxSurge(d *appsv1.Deployment) int32 {
	if !rolling(d) {
		return 0
	}
	surge, _ := bounds(d)
	return surge
}

func maxUnavailable(d *appsv1.Deployment) int32 {
	if !rolling(d) || *d.Spec.Replicas == 0 {
		return 0
	}
	_, unavailable := bounds(d)
	return min(unavailable, *d.Spec.Replicas)
}

// newSize is how large the new set may be now, given all sets.
func newSize(d *appsv1.Deployment, all []*appsv1.ReplicaSet, current int32) int32 {
	if !rolling(d) {
		return *d.Spec.Replicas
	}
	most := *d.Spec.Replicas + maxSurge(d)
	total := wished(all)
	if total >= most {
		return current
	}
	return current + min(most-total, *d.Spec.Replicas-current)
}

// share is what one set gets of toAdd replicas (negative: loses), of which added
// are given out already.
func share(d *appsv1.Deployment, set *appsv1.ReplicaSet, toAdd, added int32) int32 {
	if *set.Spec.Replicas == 0 || toAdd == 0 || toAdd == added {
		return 0
	}
	fraction, allowed := fraction(d, set), toAdd-added
	if toAdd > 0 {
		return min(fraction, allowed)
	}
	return max(fraction, allowed)
}

// fraction is the change that keeps the set's part of the whole.
func fraction(d *appsv1.Deployment, set *appsv1.ReplicaSet) int32 {
	replicas := *set.Spec.Replicas
	if *d.Spec.Replicas == 0 {
		return -replicas
	}
	before, ok := size(set, maxAnnotation)
	if !ok || before == 0 {
		if before = d.Status.Replicas; before == 0 {
			return 0
		}
	}
	now := float64(replicas*(*d.Spec.Replicas+maxSurge(d))) / float64(before)
	return roundToInt32(now) - replicas
}

func roundToInt32(f float64) int32 {
	if f < 0 {
		return int32(f - 0.5)
	}
	return int32(f + 0.5)
}

// saturated: the new set has all replicas of the deployment, both agree on the
// number, and all are available.
func saturated(d *appsv1.Deployment, set *appsv1.ReplicaSet) bool {
	if set == nil {
		return false
	}
	desired, err := strconv.Atoi(set.Annotations[desiredAnnotation])
	return err == nil && *set.Spec.Replicas == *d.Spec.Replicas &&
		int32(desired) == *d.Spec.Replicas && set.Status.AvailableReplicas == *d.Spec.Replicas
}

func wished(sets []*appsv1.ReplicaSet) int32 {
	return sum(sets, func(set *appsv1.ReplicaSet) int32 { return *set.Spec.Replicas })
}

func available(sets []*appsv1.ReplicaSet) int32 {
	return sum(sets, func(set *appsv1.ReplicaSet) int32 { return set.Status.AvailableReplicas })
}

func sum(sets []*appsv1.ReplicaSet, of func(*appsv1.ReplicaSet) int32) int32 {
	total := int32(0)
	for _, set := range sets {
		if set != nil {
			total += of(set)
		}
	}
	return total
}

// withPods are the sets that have or ought to have pods.
func withPods(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var active []*appsv1.ReplicaSet
	for _, set := range sets {
		if set != nil && *set.Spec.Replicas > 0 {
			active = append(active, set)
		}
	}
	return active
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

func hasHistoryLimit(d *appsv1.Deployment) bool {
	return d.Spec.RevisionHistoryLimit != nil && *d.Spec.RevisionHistoryLimit != math.MaxInt32
}
