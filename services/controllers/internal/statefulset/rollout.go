package statefulset

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// recreateStrategy is behind a feature gate that is off by default.
const recreateStrategy = appsv1.RecreateStatefulSetStrategyType

func errRecreate(set *appsv1.StatefulSet) error {
	return fmt.Errorf("statefulset %s/%s uses Recreate strategy but feature gate StatefulSetRecreateStrategy is disabled", set.Namespace, set.Name)
}

// partition is how many of the first replicas an update leaves alone.
func partition(set *appsv1.StatefulSet) int {
	if rolling := set.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
		return int(*rolling.Partition)
	}
	return 0
}

// maxUnavailable is at least one: percentages are rounded down.
func maxUnavailable(set *appsv1.StatefulSet) int {
	if set.Spec.UpdateStrategy.RollingUpdate == nil {
		return 1
	}
	one := intstr.FromInt32(1)
	// Validation keeps malformed values out.
	most, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable, one), wish(set), false)
	return max(most, 1)
}

// roll deletes outdated pods, highest ordinal first, as far as maxUnavailable lets it.
//
// An ordered set comes here only while all its pods are available. A parallel one
// may have others; those of them that are outdated cost nothing and go first, so
// that the budget is not spent on good pods while bad ones stay.
func (p *planner) roll() {
	if p.Set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return
	}
	var good, bad []*corev1.Pod // outdated
	budget := maxUnavailable(p.Set)
	for i, each := range slices.Backward(p.replicas) {
		unavailable := p.unavailable(each)
		if unavailable {
			budget--
		}
		outdated := i >= partition(p.Set) && revisionOf(each) != p.Update.Name && each.DeletionTimestamp == nil && made(each)
		switch {
		case !outdated:
		case unavailable && !p.ordered():
			bad = append(bad, each)
		default:
			good = append(good, each)
		}
	}
	p.out.Retire = append(p.out.Retire, bad...)
	p.out.Retire = append(p.out.Retire, good[:min(len(good), max(budget, 0))]...)
}
