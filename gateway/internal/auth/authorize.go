package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
)

// Authorizer decides by group system:masters, then as the node authorizer, then by
// RBAC.
type Authorizer struct {
	authorizer.UnconditionalAuthorizer
	rules *Rules
	nodes *nodes
}

// NewAuthorizer makes an Authorizer over the views that rules reads.
func NewAuthorizer(rules *Rules) *Authorizer {
	a := &Authorizer{rules: rules, nodes: newNodes(rules.view)}
	a.UnconditionalAuthorizer = authorizer.AuthorizerFunc(a.decide)
	return a
}

// decide never says Deny: what nobody allows is refused by the caller, with the
// reasons that were given.
func (a *Authorizer) decide(ctx context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	u := attributes.GetUser()
	if u == nil {
		return authorizer.DecisionNoOpinion, "Error", fmt.Errorf("no user on request.")
	}
	if slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	decision, reason := a.nodes.decide(attributes)
	if decision == authorizer.DecisionAllow {
		return decision, reason, nil
	}
	var reasons []string // by authorizer, as upstream's union of them says
	if reason != "" {
		reasons = append(reasons, "node: "+reason)
	}
	v := visitor{attributes: attributes}
	a.rules.VisitRulesFor(ctx, u, attributes.GetNamespace(), v.visit)
	switch {
	case v.allowed:
		return authorizer.DecisionAllow, v.reason, nil
	case len(v.errors) > 0:
		reasons = append(reasons, fmt.Sprintf("rbac: RBAC: %v", utilerrors.NewAggregate(v.errors)))
	}
	return authorizer.DecisionNoOpinion, strings.Join(reasons, "\n"), nil
}

type visitor struct {
	attributes authorizer.Attributes
	allowed    bool
	reason     string
	errors     []error
}

func (v *visitor) visit(source fmt.Stringer, rule *rbacv1.PolicyRule, err error) bool {
	if rule != nil && rbac.RuleAllows(v.attributes, rule) {
		v.allowed = true
		v.reason = fmt.Sprintf("RBAC: allowed by %s", source)
		return false
	}
	if err != nil {
		v.errors = append(v.errors, err)
	}
	return true
}

// RulesFor answers SelfSubjectRulesReview: what RBAC gives, as upstream. It is
// incomplete for nodes, whose rights depend on their pods.
func (a *Authorizer) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	var resources []authorizer.ResourceRuleInfo
	var paths []authorizer.NonResourceRuleInfo
	rules, err := a.rules.RulesFor(ctx, u, namespace)
	for i := range rules {
		r := &rules[i]
		if len(r.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames})
		}
		if len(r.NonResourceURLs) > 0 {
			paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
		}
	}
	if _, isNode := a.nodes.identifier.NodeIdentity(u); isNode && err == nil {
		return resources, paths, true, fmt.Errorf("node authorizer does not support user rule resolution")
	}
	return resources, paths, false, err
}
