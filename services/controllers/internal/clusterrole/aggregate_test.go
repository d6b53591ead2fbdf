package clusterrole

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// newRole has a rule for each resource.
func newRole(name, labels string, resources ...string) *rbacv1.ClusterRole {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for _, label := range strings.Fields(labels) {
		role.Labels[label] = "true"
	}
	for _, resource := range resources {
		role.Rules = append(role.Rules, rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{resource}})
	}
	return role
}

func TestTheRulesOfASumAreThoseOfItsParts(t *testing.T) {
	t.Parallel()
	all := []*rbacv1.ClusterRole{
		newRole("z", "x", "pods", "secrets"), newRole("a", "x y", "secrets", "nodes"), newRole("b", "y", "nodes", "jobs"), newRole("other", "", "leases"),
	}
	for _, c := range []struct {
		name      string
		selectors []string
		want      string
	}{
		{"of no selector there are no rules", nil, ""},
		{"parts are in the order of their names, rules come once", []string{"x"}, "secrets nodes pods"},
		{"selectors come in their order", []string{"y", "x"}, "secrets nodes jobs pods"},
		{"a selector that finds nothing adds nothing", []string{"none"}, ""},
	} {
		self := newRole("sum", "x y", "never")
		self.AggregationRule = &rbacv1.AggregationRule{}
		for _, label := range c.selectors {
			self.AggregationRule.ClusterRoleSelectors = append(self.AggregationRule.ClusterRoleSelectors, metav1.LabelSelector{MatchLabels: map[string]string{label: "true"}})
		}
		rules, err := sum(self, append(all[:len(all):len(all)], self))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, rule := range rules {
			got = append(got, rule.Resources...)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestASelectorThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	self := newRole("sum", "")
	self.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Like"}}}}}
	if _, err := sum(self, nil); err == nil {
		t.Error("no error")
	}
}
