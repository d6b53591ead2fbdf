package policy

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// asked is a create of a ConfigMap by ann.
func asked(t testing.TB, data map[string]string) *admission.VersionedAttributes {
	t.Helper()
	kind := schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "c"}, Data: data}
	a := admission.NewAttributesRecord(object, nil, kind, "shop", "c", configMaps, "", admission.Create, &metav1.CreateOptions{}, false, &user.DefaultInfo{Name: "ann"})
	versioned, err := admission.NewVersionedAttributes(a, kind, admission.NewObjectInterfacesFromScheme(legacyscheme.Scheme))
	if err != nil {
		t.Fatal(err)
	}
	return versioned
}

// What a policy has not is left out of what is compiled; what it has works as upstream's.
func TestAPolicySaysWhatItHasToSay(t *testing.T) {
	t.Parallel()
	type variables = []admissionv1.Variable
	ignore := admissionv1.Ignore
	for name, c := range map[string]struct {
		spec    admissionv1.ValidatingAdmissionPolicySpec
		action  validating.PolicyDecisionAction // "": no decision
		message string
		note    string // the audit annotation, if there is one
	}{
		"an expression that holds admits": {
			spec:   admissionv1.ValidatingAdmissionPolicySpec{Validations: []admissionv1.Validation{{Expression: "object.data.a == 'x'"}}},
			action: validating.ActionAdmit,
		},
		"an expression that does not hold denies with itself": {
			spec:   admissionv1.ValidatingAdmissionPolicySpec{Validations: []admissionv1.Validation{{Expression: "object.data.a == 'y'"}}},
			action: validating.ActionDeny, message: "failed expression: object.data.a == 'y'",
		},
		"a message is told": {
			spec:   admissionv1.ValidatingAdmissionPolicySpec{Validations: []admissionv1.Validation{{Expression: "false", Message: "never"}}},
			action: validating.ActionDeny, message: "never",
		},
		"a message may be an expression": {
			spec:   admissionv1.ValidatingAdmissionPolicySpec{Validations: []admissionv1.Validation{{Expression: "false", MessageExpression: "'not ' + object.data.a + ' by ' + request.userInfo.username"}}},
			action: validating.ActionDeny, message: "not x by ann",
		},
		"variables are there for validations": {
			spec:   admissionv1.ValidatingAdmissionPolicySpec{Variables: variables{{Name: "a", Expression: "object.data.a"}}, Validations: []admissionv1.Validation{{Expression: "variables.a == 'x'"}}},
			action: validating.ActionAdmit,
		},
		"variables are there for messages alone": {
			spec: admissionv1.ValidatingAdmissionPolicySpec{Variables: variables{{Name: "a", Expression: "object.data.a"}, {Name: "b", Expression: "variables.a + variables.a"}},
				Validations: []admissionv1.Validation{{Expression: "false", MessageExpression: "'got ' + variables.b"}}},
			action: validating.ActionDeny, message: "got xx",
		},
		"a variable that nobody looks at costs nothing, though it fails": {
			spec:   admissionv1.ValidatingAdmissionPolicySpec{Variables: variables{{Name: "a", Expression: "object.data.none"}}, Validations: []admissionv1.Validation{{Expression: "true"}}},
			action: validating.ActionAdmit,
		},
		"the variables of a policy that has none are an empty object": {
			spec:   admissionv1.ValidatingAdmissionPolicySpec{Validations: []admissionv1.Validation{{Expression: "variables != null"}}},
			action: validating.ActionAdmit,
		},
		"an audit annotation is written": {
			spec: admissionv1.ValidatingAdmissionPolicySpec{Variables: variables{{Name: "a", Expression: "object.data.a"}}, Validations: []admissionv1.Validation{{Expression: "true"}},
				AuditAnnotations: []admissionv1.AuditAnnotation{{Key: "k", ValueExpression: "'was ' + variables.a"}}},
			action: validating.ActionAdmit, note: "was x",
		},
		"a condition that does not hold leaves nothing to decide": {
			spec: admissionv1.ValidatingAdmissionPolicySpec{MatchConditions: []admissionv1.MatchCondition{{Name: "n", Expression: "request.userInfo.username != 'ann'"}},
				Validations: []admissionv1.Validation{{Expression: "false"}}},
		},
		"a condition that holds lets it be decided": {
			spec: admissionv1.ValidatingAdmissionPolicySpec{MatchConditions: []admissionv1.MatchCondition{{Name: "n", Expression: "request.userInfo.username == 'ann'"}},
				Validations: []admissionv1.Validation{{Expression: "false", Message: "never"}}},
			action: validating.ActionDeny, message: "never",
		},
		"what fails denies": {
			spec:   admissionv1.ValidatingAdmissionPolicySpec{Validations: []admissionv1.Validation{{Expression: "object.data.none == 'x'"}}},
			action: validating.ActionDeny, message: "expression 'object.data.none == 'x'' resulted in error: no such key: none",
		},
		"what fails is ignored if the policy says so": {
			spec:   admissionv1.ValidatingAdmissionPolicySpec{FailurePolicy: &ignore, Validations: []admissionv1.Validation{{Expression: "object.data.none == 'x'"}}},
			action: validating.ActionAdmit, message: "expression 'object.data.none == 'x'' resulted in error: no such key: none",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := compile(&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: c.spec})
			if err := v.CompileError(); err != nil {
				t.Fatal(err)
			}
			got := v.Validate(t.Context(), configMaps, asked(t, map[string]string{"a": "x"}), nil, nil, celconfig.RuntimeCELCostBudget, nil)
			if c.action == "" {
				if len(got.Decisions) != 0 {
					t.Errorf("got %+v, want no decision", got.Decisions)
				}
				return
			}
			if len(got.Decisions) != 1 || got.Decisions[0].Action != c.action || got.Decisions[0].Message != c.message {
				t.Errorf("got %+v, want %s: %q", got.Decisions, c.action, c.message)
			}
			note := ""
			for _, a := range got.AuditAnnotations {
				note += a.Value
			}
			if note != c.note {
				t.Errorf("annotated with %q, want %q", note, c.note)
			}
		})
	}
}
