package bootstrap

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	rbac "k8s.io/kubernetes/pkg/apis/rbac/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"kubus.dev/proto"
)

// policies are upstream's roles and bindings and those of our own services.
func policies() ([]runtime.Object, error) {
	roles := append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...)
	bindings := append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...)
	for _, s := range services() {
		roles = append(roles, s.role())
		bindings = append(bindings, s.binding())
	}
	roles = append(roles, metricsReader())
	if err := aggregateRoles(roles); err != nil {
		return nil, err
	}
	var out []runtime.Object
	for i := range roles {
		roles[i].TypeMeta = typed("ClusterRole", rbacv1.SchemeGroupVersion)
		out = append(out, &roles[i])
	}
	for i := range bindings {
		bindings[i].TypeMeta = typed("ClusterRoleBinding", rbacv1.SchemeGroupVersion)
		out = append(out, &bindings[i])
	}
	role, binding := dns()
	return append(append(out, namespaced()...), role, binding), nil
}

// namespaced gives upstream's roles and bindings inside namespaces, sorted.
func namespaced() []runtime.Object {
	var out []runtime.Object
	for _, namespace := range sortedKeys(bootstrappolicy.NamespaceRoles()) {
		for _, role := range bootstrappolicy.NamespaceRoles()[namespace] {
			role.TypeMeta, role.Namespace = typed("Role", rbacv1.SchemeGroupVersion), namespace
			out = append(out, &role)
		}
	}
	for _, namespace := range sortedKeys(bootstrappolicy.NamespaceRoleBindings()) {
		for _, binding := range bootstrappolicy.NamespaceRoleBindings()[namespace] {
			binding.TypeMeta, binding.Namespace = typed("RoleBinding", rbacv1.SchemeGroupVersion), namespace
			out = append(out, &binding)
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// aggregateRoles fills the rules of roles that are the sum of others (admin, edit,
// view), which upstream leaves to a controller. edit is a part of admin, so the
// small ones come first.
func aggregateRoles(roles []rbacv1.ClusterRole) error {
	for _, name := range []string{"view", "edit", "admin"} {
		for i := range roles {
			if roles[i].Name != name || roles[i].AggregationRule == nil {
				continue
			}
			rules, err := sum(roles, roles[i].AggregationRule, name)
			if err != nil {
				return err
			}
			roles[i].Rules = rules
		}
	}
	return nil
}

// sum is what upstream's controller makes of the roles: by name, each rule once.
func sum(roles []rbacv1.ClusterRole, rule *rbacv1.AggregationRule, self string) ([]rbacv1.PolicyRule, error) {
	roles = slices.SortedStableFunc(slices.Values(roles), func(a, b rbacv1.ClusterRole) int { return strings.Compare(a.Name, b.Name) })
	var out []rbacv1.PolicyRule
	for i := range rule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&rule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, fmt.Errorf("bootstrap: aggregating %s: %w", self, err)
		}
		for _, role := range roles {
			if role.Name == self || !selector.Matches(labels.Set(role.Labels)) {
				continue
			}
			for _, r := range role.Rules {
				if !slices.ContainsFunc(out, func(had rbacv1.PolicyRule) bool { return apiequality.Semantic.DeepEqual(had, r) }) {
					out = append(out, r)
				}
			}
		}
	}
	return out, nil
}

// service is one of ours, with the rights that it needs.
type service struct {
	name  string // of the role and binding
	user  string
	rules []rbacv1.PolicyRule
}

func services() []service {
	return []service{
		{"system:kubus:status", proto.StatusUser, []rbacv1.PolicyRule{
			rbac.NewRule("get", "delete").Groups("").Resources("pods").RuleOrDie(),
			rbac.NewRule("patch").Groups("").Resources("pods/status", "nodes/status").RuleOrDie(),
			rbac.NewRule("create", "get", "patch").Groups("").Resources("nodes").RuleOrDie(),
		}},
		{"system:kubus:cloud", proto.CloudUser, []rbacv1.PolicyRule{
			rbac.NewRule("patch").Groups("").Resources("nodes", "nodes/status", "services/status").RuleOrDie(),
			rbac.NewRule("create").Groups("").Resources("events").RuleOrDie(),
		}},
		// Upstream's controller of token Secrets speaks as kube-controller-manager itself.
		{"system:kubus:tokens", proto.ControllerUser("tokens-controller"), []rbacv1.PolicyRule{
			rbac.NewRule("patch", "delete").Groups("").Resources("secrets").RuleOrDie(),
			rbac.NewRule("get", "update").Groups("").Resources("serviceaccounts").RuleOrDie(),
		}},
	}
}

// metricsReader gives whoever may view also what pods and nodes use, as the role of that
// name does that comes with metrics servers.
func metricsReader() rbacv1.ClusterRole {
	labels := map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}
	for _, to := range []string{"view", "edit", "admin"} {
		labels["rbac.authorization.k8s.io/aggregate-to-"+to] = "true"
	}
	return rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "system:aggregated-metrics-reader", Labels: labels, Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"}},
		Rules:      []rbacv1.PolicyRule{rbac.NewRule("get", "list", "watch").Groups("metrics.k8s.io").Resources("pods", "nodes").RuleOrDie()},
	}
}

// dns may make its Service, and keep its EndpointSlice, in kube-system: what it writes
// decides where the names of all pods lead, so nowhere else. RBAC restricts no create by
// name, and the slice is called after the server's instance: package admission holds it
// to objects of these names.
func dns() (*rbacv1.Role, *rbacv1.RoleBinding) {
	s := service{name: "system:kubus:dns", user: proto.DNSUser, rules: []rbacv1.PolicyRule{
		rbac.NewRule("create").Groups("").Resources("services").RuleOrDie(),
		rbac.NewRule("create", "update").Groups("discovery.k8s.io").Resources("endpointslices").RuleOrDie(),
	}}
	meta := s.meta()
	meta.Namespace = metav1.NamespaceSystem
	return &rbacv1.Role{TypeMeta: typed("Role", rbacv1.SchemeGroupVersion), ObjectMeta: meta, Rules: s.rules},
		&rbacv1.RoleBinding{TypeMeta: typed("RoleBinding", rbacv1.SchemeGroupVersion), ObjectMeta: meta,
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: s.name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: s.user}},
		}
}

var defaultLabels = map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}

func (s service) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: s.name, Labels: defaultLabels, Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"}}
}

func (s service) role() rbacv1.ClusterRole {
	return rbacv1.ClusterRole{ObjectMeta: s.meta(), Rules: s.rules}
}

func (s service) binding() rbacv1.ClusterRoleBinding {
	return rbacv1.ClusterRoleBinding{ObjectMeta: s.meta(),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: s.user}},
	}
}
