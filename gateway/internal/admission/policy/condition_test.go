package policy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Our conditions and upstream's come to the same, at the same cost and with the same words,
// whatever an expression names and however much it may cost.
func TestConditionsAreUpstreams(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	upstreams, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := newCompiler()
	if err != nil {
		t.Fatal(err)
	}
	has := cel.OptionalVariableDeclarations{HasParams: true, HasAuthorizer: true}
	for _, c := range []*cel.CompositedCompiler{upstreams, ours} {
		c.CompileAndStoreVariables(variables([]admissionv1.Variable{
			{Name: "a", Expression: "object.data.a"}, {Name: "twice", Expression: "variables.a + variables.a"}, {Name: "missing", Expression: "object.data.missing"}, {Name: "who", Expression: "request.userInfo.username"},
		}), has, environment.StoredExpressions)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"l": "v"}}}
	params := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Data: map[string]string{"max": "3"}}
	with := cel.OptionalVariableBindings{VersionedParams: params, Authorizer: everything{}}
	for _, expressions := range [][]string{
		{"object.data.a == 'x'"},
		{"object.data.all(k, object.data[k] != 'y')", "", "object.metadata.name == 'c' && oldObject == null"},
		{"object.data.missing == 'x'", "has(object.data.missing)", "true"},
		{"params.data.max == '3'", "params == null"},
		{"params.data.missing == '3'"},
		{"namespaceObject.metadata.labels['l'] == 'v'", "namespaceObject == null"},
		{"request.userInfo.username == 'ann' && request.operation == 'CREATE' && request.namespace == 'shop' && request.resource.resource == 'configmaps'"},
		{"authorizer.group('').resource('pods').namespace('shop').check('get').allowed()", "authorizer.requestResource.check('create').allowed()"},
		{"variables.a == 'x'", "variables.twice == 'xx' && variables.who == 'ann'", "variables.missing == ''", "variables.a == variables.a"},
		{"object.data.all(a, object.data.all(b, object.data.all(c, a + b + c != '')))", "true"},
		{"this does not compile", "true", "1 + 1", "unknown == 1"},
		{"[1, 2, 3].map(x, x / (x - 2)).size() == 3"},
	} {
		conditions := make([]admissionv1.MatchCondition, len(expressions))
		for i, e := range expressions {
			conditions[i] = admissionv1.MatchCondition{Name: fmt.Sprint(i), Expression: e}
		}
		accessors := matchConditions(conditions)
		for i, e := range expressions {
			if e == "" {
				accessors[i] = nil
			}
		}
		want, got := upstreams.CompileCondition(accessors, has, environment.StoredExpressions), ours.CompileCondition(accessors, has, environment.StoredExpressions)
		if w, g := fmt.Sprint(want.CompilationErrors()), fmt.Sprint(got.CompilationErrors()); w != g {
			t.Errorf("%q: compilation: got %s, want %s", expressions, g, w)
		}
		for name, given := range map[string]cel.OptionalVariableBindings{"with params and an authorizer": with, "with neither": {}} {
			for _, inside := range []*corev1.Namespace{namespace, nil} {
				for _, budget := range []int64{celconfig.RuntimeCELCostBudget, 0, 1, 2, 3, 5, 8, 13, 21, 34} {
					w, wLeft, wErr := evaluated(ctx, t, want, given, inside, budget)
					g, gLeft, gErr := evaluated(ctx, t, got, given, inside, budget)
					if !reflect.DeepEqual(g, w) || gLeft != wLeft || gErr != wErr {
						t.Errorf("%q %s, %d to spend:\n got %v, %d left, %s\nwant %v, %d left, %s", expressions, name, budget, g, gLeft, gErr, w, wLeft, wErr)
					}
				}
			}
		}
	}
}

// evaluated is what a condition says of a request, without the time that it took.
func evaluated(ctx context.Context, t *testing.T, c cel.ConditionEvaluator, given cel.OptionalVariableBindings, namespace *corev1.Namespace, budget int64) (results []string, left int64, failed string) {
	t.Helper()
	about := asked(t, map[string]string{"a": "x", "b": "z"})
	request := cel.CreateAdmissionRequest(about.Attributes, metav1.GroupVersionResource(configMaps), metav1.GroupVersionKind(about.VersionedKind))
	all, left, err := c.ForInput(ctx, about, request, given, namespace, budget)
	for _, r := range all {
		results = append(results, fmt.Sprintf("%v %v %v", r.ExpressionAccessor, r.EvalResult, r.Error))
	}
	// The error wraps the same cause, since upstream asks for it.
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		failed += fmt.Sprintf("%T %v; ", cause, cause)
	}
	return results, left, failed
}
