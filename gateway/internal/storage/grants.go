package storage

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	rbacvalidation "k8s.io/kubernetes/pkg/registry/rbac/validation"
)

// asRequested are rules whose errors name what the request is about: as upstream, who
// binds a role that is not there reads that the binding is not found.
type asRequested struct {
	rbacvalidation.AuthorizationRuleResolver
	resource schema.GroupResource
}

func (r asRequested) GetRoleReferenceRules(ctx context.Context, ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	rules, err := r.AuthorizationRuleResolver.GetRoleReferenceRules(ctx, ref, namespace)
	if apierrors.IsNotFound(err) {
		err = apierrors.NewNotFound(r.resource, ref.Name)
	}
	return rules, err
}
