// Package clusterrole writes into ClusterRoles with an aggregationRule the rules of
// all ClusterRoles that it selects, whenever any ClusterRole changes. The gateway
// decides by what is written.
//
// A role that is itself the sum of others may be a part of a third one; each change
// wakes all that aggregate, so sums of sums settle one step at a time.
package clusterrole

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

// manager owns the rules that are applied, as upstream's.
const manager = "clusterrole-aggregation-controller"

type controller struct {
	roles  *mirror.Kind[rbacv1.ClusterRole]
	writer *write.Client
}

// Controller aggregates ClusterRoles.
func Controller() frame.Definition {
	return frame.Definition{Name: "clusterrole-aggregation", User: manager, Make: func(e *frame.Env) (frame.Loop, error) {
		c := &controller{e.World.ClusterRoles, e.Writer}
		return frame.Keyed(e, c.reconcile, frame.On(c.roles, c.changed)), nil
	}}
}

// changed wakes all roles that aggregate: there are few, and who is part of whom may change.
func (c *controller) changed(_, _ *rbacv1.ClusterRole, add func(string)) {
	for _, role := range c.roles.List("") {
		if role.AggregationRule != nil {
			add(role.Name)
		}
	}
}

func (c *controller) reconcile(ctx context.Context, name string) (time.Duration, error) {
	role := c.roles.Get("", name)
	if role == nil || role.AggregationRule == nil {
		return 0, nil
	}
	rules, err := sum(role, c.roles.List(""))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", queue.ErrDrop, err)
	}
	if equality.Semantic.DeepEqual(rules, role.Rules) {
		return 0, nil
	}
	request, err := write.Apply(c.roles.Path("", name), manager, map[string]any{
		"apiVersion": rbacv1.SchemeGroupVersion.String(), "kind": "ClusterRole",
		"metadata": map[string]any{"name": name}, "rules": rules,
	})
	if err != nil {
		return 0, err
	}
	body, err := c.writer.One(ctx, request)
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("writing the rules of %s: %w", name, err)
	}
	return 0, c.roles.WaitRevision(ctx, write.Revision(body))
}

// sum gives the rules of the roles that an aggregation rule selects, in the order of
// its selectors and the roles' names, each rule once.
func sum(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	slices.SortFunc(all, func(a, b *rbacv1.ClusterRole) int { return strings.Compare(a.Name, b.Name) })
	rules := []rbacv1.PolicyRule{}
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, err
		}
		for _, part := range all {
			if part.Name == role.Name || !selector.Matches(labels.Set(part.Labels)) {
				continue
			}
			for _, rule := range part.Rules {
				if !slices.ContainsFunc(rules, func(known rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(known, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules, nil
}
