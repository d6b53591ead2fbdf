package policy

import (
	"slices"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
)

// compile makes a policy's validator, as upstream does.
func compile(policy *admissionv1.ValidatingAdmissionPolicy) validating.Validator {
	spec := &policy.Spec
	compiler, err := compilerFor(spec)
	if err != nil {
		return validating.NewValidator(nil, nil, nil, nil, spec.FailurePolicy, err)
	}
	withAuthorizer := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
	without := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil}
	compiler.CompileAndStoreVariables(variables(spec.Variables), withAuthorizer, environment.StoredExpressions)
	condition := func(expressions []cel.ExpressionAccessor, has cel.OptionalVariableDeclarations) cel.ConditionEvaluator {
		switch {
		case !slices.ContainsFunc(expressions, func(e cel.ExpressionAccessor) bool { return e != nil }):
			return nothing // upstream makes every variable's value and then asks nobody
		case mentionVariables(expressions):
			return compiler.CompileCondition(expressions, has, environment.StoredExpressions)
		}
		return compiler.ConditionCompiler.CompileCondition(expressions, has, environment.StoredExpressions)
	}
	var conditions matchconditions.Matcher
	if len(spec.MatchConditions) > 0 {
		conditions = matchconditions.NewMatcher(condition(matchConditions(spec.MatchConditions), withAuthorizer), spec.FailurePolicy, "policy", "validate", policy.Name)
	}
	return validating.NewValidator(
		condition(validations(spec.Validations), withAuthorizer), conditions,
		condition(annotations(spec.AuditAnnotations), withAuthorizer), condition(messages(spec.Validations), without),
		spec.FailurePolicy, nil)
}

// compilerFor gives a policy with variables a compiler of its own, which learns their
// types. The others share one: to make it costs more than to compile with it.
func compilerFor(spec *admissionv1.ValidatingAdmissionPolicySpec) (*cel.CompositedCompiler, error) {
	if len(spec.Variables) == 0 {
		return withoutVariables()
	}
	return newCompiler()
}

func newCompiler() (*cel.CompositedCompiler, error) {
	compiler, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	compiler.ConditionCompiler = conditionCompiler{compiler.Compiler}
	return compiler, nil
}

var withoutVariables = sync.OnceValues(newCompiler)

// nothing has no expressions.
var nothing = cel.NewCondition(nil)

// mentionVariables says whether an expression may look at the policy's variables. What
// only has the word in it, in a text say, counts too.
func mentionVariables(expressions []cel.ExpressionAccessor) bool {
	return slices.ContainsFunc(expressions, func(e cel.ExpressionAccessor) bool {
		return e != nil && strings.Contains(e.GetExpression(), cel.VariableVarName)
	})
}

func variables(all []admissionv1.Variable) []cel.NamedExpressionAccessor {
	out := make([]cel.NamedExpressionAccessor, len(all))
	for i, v := range all {
		out[i] = &validating.Variable{Name: v.Name, Expression: v.Expression}
	}
	return out
}

func matchConditions(all []admissionv1.MatchCondition) []cel.ExpressionAccessor {
	out := make([]cel.ExpressionAccessor, len(all))
	for i := range all {
		out[i] = (*matchconditions.MatchCondition)(&all[i])
	}
	return out
}

func validations(all []admissionv1.Validation) []cel.ExpressionAccessor {
	out := make([]cel.ExpressionAccessor, len(all))
	for i, v := range all {
		out[i] = &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason}
	}
	return out
}

// messages has nil where a validation has no expression for its message.
func messages(all []admissionv1.Validation) []cel.ExpressionAccessor {
	out := make([]cel.ExpressionAccessor, len(all))
	for i, v := range all {
		if v.MessageExpression != "" {
			out[i] = &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}
		}
	}
	return out
}

func annotations(all []admissionv1.AuditAnnotation) []cel.ExpressionAccessor {
	out := make([]cel.ExpressionAccessor, len(all))
	for i, a := range all {
		out[i] = &validating.AuditAnnotationCondition{Key: a.Key, ValueExpression: a.ValueExpression}
	}
	return out
}
