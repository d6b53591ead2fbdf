package auth

import (
	"fmt"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/proto/statelog"
)

// aggregates keeps the rules of aggregated ClusterRoles until any ClusterRole changes.
type aggregates struct {
	mu       sync.Mutex
	revision uint64 // of the newest change of a ClusterRole that rules know
	rules    map[string][]rbacv1.PolicyRule
}

// of gives the rules of a role, made by find where they are not known at the revision.
// Errors are not kept.
func (a *aggregates) of(name string, revision uint64, find func() ([]rbacv1.PolicyRule, error)) ([]rbacv1.PolicyRule, error) {
	a.mu.Lock()
	if a.revision == revision {
		if rules, ok := a.rules[name]; ok {
			a.mu.Unlock()
			return rules, nil
		}
	}
	a.mu.Unlock()
	rules, err := find()
	if err != nil {
		return rules, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.revision > revision:
		return rules, nil // somebody saw a later change
	case a.revision < revision || a.rules == nil:
		a.revision, a.rules = revision, map[string][]rbacv1.PolicyRule{}
	}
	a.rules[name] = rules
	return rules, nil
}

// aggregated adds to a role the rules of those that its aggregation rule selects.
// Upstream writes them into the role by a controller; here they are found when
// they are needed.
func (r *Rules) aggregated(name string) ([]rbacv1.PolicyRule, error) {
	// The revision is read first: rules may be newer than it, never older.
	revision := r.view(clusterRoles).ChangedAt(clusterRoles)
	return r.sums.of(name, revision, func() ([]rbacv1.PolicyRule, error) { return r.sum(name) })
}

func (r *Rules) sum(name string) ([]rbacv1.PolicyRule, error) {
	role, err := r.clusterRole(name)
	if err != nil || role.AggregationRule == nil {
		return rulesOf(role), err
	}
	rules := append([]rbacv1.PolicyRule(nil), role.Rules...)
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return rules, fmt.Errorf("cluster role %s: %w", role.Name, err)
		}
		r.view(clusterRoles).Snapshot(clusterRoles).Ascend("", func(e *statelog.Entry) bool {
			if e.Key().Name != role.Name && selector.Matches(labels.Set(e.Meta().Labels)) {
				if part, err := r.clusterRoles.of(e); err == nil {
					rules = append(rules, part.Rules...)
				}
			}
			return true
		})
	}
	return rules, nil
}
