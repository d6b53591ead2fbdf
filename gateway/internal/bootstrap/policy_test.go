package bootstrap

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/rbac"
)

func TestAdminHasWhatEditAndViewHave(t *testing.T) {
	t.Parallel()
	objects, err := policies()
	if err != nil {
		t.Fatal(err)
	}
	can := map[string]map[string]bool{}
	names := map[string]bool{}
	for _, o := range objects {
		role, ok := o.(*rbacv1.ClusterRole)
		if !ok {
			continue
		}
		names[role.Name] = true
		can[role.Name] = map[string]bool{}
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					can[role.Name][verb+" "+resource] = true
				}
			}
		}
	}
	for role, want := range map[string]map[string]bool{
		"view":  {"get pods": true, "create pods": false, "get secrets": false},
		"edit":  {"get pods": true, "create pods": true, "create roles": false},
		"admin": {"get pods": true, "create pods": true, "create roles": true},
	} {
		for right, has := range want {
			if can[role][right] != has {
				t.Errorf("%s may %s: %v", role, right, !has)
			}
		}
	}
	for _, name := range []string{"cluster-admin", "system:kube-scheduler", "system:controller:deployment-controller", "system:kubus:status"} {
		if !names[name] {
			t.Errorf("no role %s", name)
		}
	}
}

func TestCorrected(t *testing.T) {
	t.Parallel()
	want := &rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}
	pods := rbac.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}
	more := rbac.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"example.com"}, Resources: []string{"*"}}
	for _, c := range []struct {
		name    string
		live    *rbac.ClusterRole
		rules   int
		changed bool
	}{
		{"a role that has its rules stays", &rbac.ClusterRole{Rules: []rbac.PolicyRule{pods}}, 1, false},
		{"what people added stays", &rbac.ClusterRole{Rules: []rbac.PolicyRule{more, pods}}, 2, false},
		{"a lost rule comes back", &rbac.ClusterRole{Rules: []rbac.PolicyRule{more}}, 2, true},
		{"unless the role opts out", &rbac.ClusterRole{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "false"}}}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, changed, err := corrected(c.live, want)
			if err != nil || changed != c.changed || len(got.(*rbac.ClusterRole).Rules) != c.rules {
				t.Errorf("got %v, %v, %+v", err, changed, got)
			}
		})
	}
}
