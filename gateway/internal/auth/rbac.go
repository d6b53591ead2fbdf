package auth

import (
	"context"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

const rbacGroup = "rbac.authorization.k8s.io"

var (
	roles               = proto.GroupResource{Group: rbacGroup, Resource: "roles"}
	roleBindings        = proto.GroupResource{Group: rbacGroup, Resource: "rolebindings"}
	clusterRoles        = proto.GroupResource{Group: rbacGroup, Resource: "clusterroles"}
	clusterRoleBindings = proto.GroupResource{Group: rbacGroup, Resource: "clusterrolebindings"}
)

// subjectIndex finds bindings by whom they bind.
const subjectIndex = "subject"

// Rules resolves which RBAC rules apply to a user, from the views. It is an
// AuthorizationRuleResolver as upstream's escalation checks want it.
type Rules struct {
	view                ViewFunc
	roles               *decoded[*rbacv1.Role]
	roleBindings        *decoded[*rbacv1.RoleBinding]
	clusterRoles        *decoded[*rbacv1.ClusterRole]
	clusterRoleBindings *decoded[*rbacv1.ClusterRoleBinding]
}

// NewRules registers the indexes on the views.
func NewRules(view ViewFunc) *Rules {
	r := &Rules{
		view:                view,
		roles:               newDecoded(statelog.Decode[rbacv1.Role]),
		roleBindings:        newDecoded(statelog.Decode[rbacv1.RoleBinding]),
		clusterRoles:        newDecoded(statelog.Decode[rbacv1.ClusterRole]),
		clusterRoleBindings: newDecoded(statelog.Decode[rbacv1.ClusterRoleBinding]),
	}
	view(roleBindings).AddIndex(roleBindings, subjectIndex, subjectsOf)
	view(clusterRoleBindings).AddIndex(clusterRoleBindings, subjectIndex, subjectsOf)
	return r
}

// subjectsOf gives the index values of a binding: its namespace and each subject.
func subjectsOf(e *statelog.Entry) []string {
	binding, err := statelog.Decode[rbacv1.RoleBinding](e)
	if err != nil {
		return nil
	}
	ns := e.Key().Namespace
	out := make([]string, 0, len(binding.Subjects))
	for i := range binding.Subjects {
		s := &binding.Subjects[i]
		switch s.Kind {
		case rbacv1.UserKind:
			out = append(out, subjectKey(ns, "user", s.Name))
		case rbacv1.GroupKind:
			out = append(out, subjectKey(ns, "group", s.Name))
		case rbacv1.ServiceAccountKind:
			if of := saNamespace(s, ns); of != "" {
				out = append(out, subjectKey(ns, "user", serviceaccount.MakeUsername(of, s.Name)))
			}
		}
	}
	return out
}

func saNamespace(s *rbacv1.Subject, bindingNamespace string) string {
	if s.Namespace != "" {
		return s.Namespace
	}
	return bindingNamespace
}

func subjectKey(ns, kind, name string) string {
	return ns + "\x00" + kind + "\x00" + name
}

// RulesFor lists all rules that apply to a user in a namespace.
func (r *Rules) RulesFor(ctx context.Context, u user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	var rules []rbacv1.PolicyRule
	var errs []error
	r.VisitRulesFor(ctx, u, namespace, func(_ fmt.Stringer, rule *rbacv1.PolicyRule, err error) bool {
		if rule != nil {
			rules = append(rules, *rule)
		}
		if err != nil {
			errs = append(errs, err)
		}
		return true
	})
	return rules, utilerrors.NewAggregate(errs)
}

// VisitRulesFor gives the rules that apply to a user, until visit returns false.
func (r *Rules) VisitRulesFor(ctx context.Context, u user.Info, namespace string, visit func(fmt.Stringer, *rbacv1.PolicyRule, error) bool) {
	if !r.visit(ctx, clusterRoleBindings, "", u, visit) || namespace == "" {
		return
	}
	r.visit(ctx, roleBindings, namespace, u, visit)
}

func (r *Rules) visit(ctx context.Context, gr proto.GroupResource, ns string, u user.Info, visit func(fmt.Stringer, *rbacv1.PolicyRule, error) bool) bool {
	snapshot := r.view(gr).Snapshot(gr)
	goOn := true
	one := func(kind, name string) bool {
		snapshot.ByIndex(subjectIndex, subjectKey(ns, kind, name), func(e *statelog.Entry) bool {
			goOn = r.visitBinding(ctx, e, kind, name, visit)
			return goOn
		})
		return goOn
	}
	if !one("user", u.GetName()) {
		return false
	}
	for _, group := range u.GetGroups() {
		if !one("group", group) {
			return false
		}
	}
	return true
}

func (r *Rules) visitBinding(ctx context.Context, e *statelog.Entry, kind, name string, visit func(fmt.Stringer, *rbacv1.PolicyRule, error) bool) bool {
	source := &source{ns: e.Key().Namespace, name: e.Key().Name}
	var subjects []rbacv1.Subject
	if e.Key().Namespace == "" {
		b, err := r.clusterRoleBindings.of(e)
		if err != nil {
			return visit(nil, nil, err)
		}
		source.role, subjects = b.RoleRef, b.Subjects
	} else {
		b, err := r.roleBindings.of(e)
		if err != nil {
			return visit(nil, nil, err)
		}
		source.role, subjects = b.RoleRef, b.Subjects
	}
	source.subject = subjectNamed(subjects, source.ns, kind, name)
	rules, err := r.GetRoleReferenceRules(ctx, source.role, source.ns)
	if err != nil {
		return visit(nil, nil, err)
	}
	for i := range rules {
		if !visit(source, &rules[i], nil) {
			return false
		}
	}
	return true
}

func subjectNamed(subjects []rbacv1.Subject, ns, kind, name string) *rbacv1.Subject {
	for i := range subjects {
		s := &subjects[i]
		switch {
		case kind == "group" && s.Kind == rbacv1.GroupKind && s.Name == name,
			kind == "user" && s.Kind == rbacv1.UserKind && s.Name == name,
			kind == "user" && s.Kind == rbacv1.ServiceAccountKind && serviceaccount.MatchesUsername(saNamespace(s, ns), s.Name, name):
			return s
		}
	}
	return &rbacv1.Subject{Kind: rbacv1.UserKind, Name: name}
}

// GetRoleReferenceRules gives the rules of the role that a binding names.
func (r *Rules) GetRoleReferenceRules(_ context.Context, ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	switch ref.Kind {
	case "Role":
		e := r.view(roles).Get(roles, namespace, ref.Name)
		if e == nil {
			return nil, apierrors.NewNotFound(rbacv1.Resource("role"), ref.Name)
		}
		role, err := r.roles.of(e)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	case "ClusterRole":
		role, err := r.clusterRole(ref.Name)
		return rulesOf(role), err
	}
	return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
}

func (r *Rules) clusterRole(name string) (*rbacv1.ClusterRole, error) {
	e := r.view(clusterRoles).Get(clusterRoles, "", name)
	if e == nil {
		return nil, apierrors.NewNotFound(rbacv1.Resource("clusterrole"), name)
	}
	return r.clusterRoles.of(e)
}

func rulesOf(role *rbacv1.ClusterRole) []rbacv1.PolicyRule {
	if role == nil {
		return nil
	}
	return role.Rules
}

// source describes why a rule applies, in upstream's words.
type source struct {
	ns, name string
	role     rbacv1.RoleRef
	subject  *rbacv1.Subject
}

func (s *source) String() string {
	kind, name := "ClusterRoleBinding", s.name
	if s.ns != "" {
		kind, name = "RoleBinding", s.name+"/"+s.ns
	}
	subject := s.subject.Name
	if s.subject.Kind == rbacv1.ServiceAccountKind {
		subject = strings.TrimSuffix(s.subject.Name+"/"+saNamespace(s.subject, s.ns), "/")
	}
	return fmt.Sprintf("%s %q of %s %q to %s %q", kind, name, s.role.Kind, s.role.Name, s.subject.Kind, subject)
}
