package bootstrap

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	rbacvalidation "k8s.io/component-helpers/auth/rbac/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/discovery"
	"k8s.io/kubernetes/pkg/apis/flowcontrol"
	"k8s.io/kubernetes/pkg/apis/rbac"

	"kubus.dev/gateway/internal/resource"
)

// corrected gives live (internal) with what want (versioned) must have: rules and
// subjects that were lost, unless the object opts out, flow control, and the API's address.
// What people added stays.
func corrected(live, want runtime.Object) (fixed runtime.Object, changed bool, err error) {
	fixed = live.DeepCopyObject()
	switch o := fixed.(type) {
	case *rbac.ClusterRole:
		return fixed, mayUpdate(&o.ObjectMeta) && addRules(&o.Rules, want.(*rbacv1.ClusterRole).Rules, &err), err
	case *rbac.Role:
		return fixed, mayUpdate(&o.ObjectMeta) && addRules(&o.Rules, want.(*rbacv1.Role).Rules, &err), err
	case *rbac.ClusterRoleBinding:
		return fixed, mayUpdate(&o.ObjectMeta) && addSubjects(&o.Subjects, want.(*rbacv1.ClusterRoleBinding).Subjects, &err), err
	case *rbac.RoleBinding:
		return fixed, mayUpdate(&o.ObjectMeta) && addSubjects(&o.Subjects, want.(*rbacv1.RoleBinding).Subjects, &err), err
	case *core.ConfigMap:
		data := want.(*corev1.ConfigMap).Data
		if _, err := time.Parse(time.DateOnly, o.Data[trackingSince]); o.Name == trackingConfigMap && err == nil {
			return fixed, false, nil // since then, not since now
		}
		if apiequality.Semantic.DeepEqual(o.Data, data) {
			return fixed, false, nil
		}
		o.Data = data
		return fixed, true, nil
	case *flowcontrol.FlowSchema:
		changed, err = revisedSchema(o, want)
		return fixed, changed, err
	case *flowcontrol.PriorityLevelConfiguration:
		changed, err = revisedLevel(o, want)
		return fixed, changed, err
	case *core.Endpoints:
		var target core.Endpoints
		if err := convert(want, &target); err != nil || apiequality.Semantic.DeepEqual(o.Subsets, target.Subsets) {
			return fixed, false, err
		}
		o.Subsets = target.Subsets
		return fixed, true, nil
	case *discovery.EndpointSlice:
		var target discovery.EndpointSlice
		if err := convert(want, &target); err != nil {
			return fixed, false, err
		}
		if apiequality.Semantic.DeepEqual(o.Endpoints, target.Endpoints) && apiequality.Semantic.DeepEqual(o.Ports, target.Ports) {
			return fixed, false, nil
		}
		o.Endpoints, o.Ports = target.Endpoints, target.Ports
		return fixed, true, nil
	}
	return fixed, false, nil
}

func convert(want, into runtime.Object) error {
	want = want.DeepCopyObject()
	if slice, ok := want.(*discoveryv1.EndpointSlice); ok {
		resource.Scheme.Default(slice)
	}
	return resource.Scheme.Convert(want, into, nil)
}

// mayUpdate honours upstream's way to opt out.
func mayUpdate(m *metav1.ObjectMeta) bool {
	return m.Annotations[rbacv1.AutoUpdateAnnotationKey] != "false"
}

// addRules adds the wanted rules that the present ones do not cover.
func addRules(have *[]rbac.PolicyRule, want []rbacv1.PolicyRule, err *error) bool {
	present := make([]rbacv1.PolicyRule, len(*have))
	for i := range *have {
		if *err = resource.Scheme.Convert(&(*have)[i], &present[i], nil); *err != nil {
			return false
		}
	}
	covered, missing := rbacvalidation.Covers(present, want)
	if covered {
		return false
	}
	for i := range missing {
		var rule rbac.PolicyRule
		if *err = resource.Scheme.Convert(&missing[i], &rule, nil); *err != nil {
			return false
		}
		*have = append(*have, rule)
	}
	return true
}

func addSubjects(have *[]rbac.Subject, want []rbacv1.Subject, err *error) bool {
	changed := false
	for i := range want {
		var subject rbac.Subject
		if *err = resource.Scheme.Convert(&want[i], &subject, nil); *err != nil {
			return false
		}
		if !slices.Contains(*have, subject) {
			*have = append(*have, subject)
			changed = true
		}
	}
	return changed
}
