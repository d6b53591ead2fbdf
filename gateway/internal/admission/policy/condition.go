package policy

import (
	"context"
	"fmt"
	"math"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// conditionCompiler is upstream's cel.ConditionCompiler: what it compiles is upstream's,
// and is given its variables when it asks for them.
type conditionCompiler struct{ cel.Compiler }

// CompileCondition is upstream's cel.ConditionCompiler.
func (c conditionCompiler) CompileCondition(expressions []cel.ExpressionAccessor, has cel.OptionalVariableDeclarations, mode environment.Type) cel.ConditionEvaluator {
	compiled := make([]cel.CompilationResult, len(expressions))
	for i, e := range expressions {
		if e != nil {
			compiled[i] = c.CompileCELExpression(e, has, mode)
		}
	}
	return &condition{ConditionEvaluator: cel.NewCondition(compiled), compiled: compiled}
}

// condition evaluates as upstream's does, in the same order, with the same results, costs
// and errors; a test holds them against each other.
type condition struct {
	cel.ConditionEvaluator // for its CompilationErrors
	compiled               []cel.CompilationResult
}

// ForInput is upstream's cel.ConditionEvaluator.
func (c *condition) ForInput(ctx context.Context, about *admission.VersionedAttributes, request *admissionv1.AdmissionRequest, given cel.OptionalVariableBindings, namespace *corev1.Namespace, budget int64) ([]cel.EvaluationResult, int64, error) {
	results := make([]cel.EvaluationResult, len(c.compiled))
	if len(results) == 0 {
		return results, budget, nil
	}
	composition, _ := ctx.(cel.CompositionContext)
	in, err := newInput(composition, about, request, given, namespace)
	if err != nil {
		return nil, -1, err
	}
	for i := range c.compiled {
		if budget, err = in.evaluate(ctx, composition, &c.compiled[i], &results[i], budget); err != nil {
			return nil, -1, err
		}
	}
	return results, budget, nil
}

// evaluate writes what an expression comes to, and returns what is left of the budget. An
// error ends all; that of the expression itself is part of its result.
func (in *input) evaluate(ctx context.Context, composition cel.CompositionContext, compiled *cel.CompilationResult, result *cel.EvaluationResult, budget int64) (int64, error) {
	if compiled.ExpressionAccessor == nil { // no expression in this place
		return budget, nil
	}
	result.ExpressionAccessor = compiled.ExpressionAccessor
	switch {
	case compiled.Error != nil:
		result.Error = &apiservercel.Error{Type: apiservercel.ErrorTypeInvalid, Detail: fmt.Sprintf("compilation error: %v", compiled.Error), Cause: compiled.Error}
		return budget, nil
	case compiled.Program == nil:
		result.Error = &apiservercel.Error{Type: apiservercel.ErrorTypeInternal, Detail: "unexpected internal error compiling expression"}
		return budget, nil
	}
	began := time.Now()
	value, details, err := compiled.Program.ContextEval(ctx, in)
	if composition != nil { // variables are evaluated when they are asked for
		cost := composition.GetAndResetCost()
		if cost > budget {
			return -1, errBudget
		}
		budget -= cost
	}
	result.Elapsed = time.Since(began)
	if details == nil {
		return -1, &apiservercel.Error{Type: apiservercel.ErrorTypeInternal, Detail: costUnknown(compiled)}
	}
	cost := details.ActualCost()
	switch {
	case cost == nil:
		return -1, &apiservercel.Error{Type: apiservercel.ErrorTypeInvalid, Detail: costUnknown(compiled), Cause: apiservercel.ErrOutOfBudget}
	case *cost > math.MaxInt64 || int64(*cost) > budget:
		return -1, errBudget
	}
	budget -= int64(*cost)
	if err != nil {
		result.Error = &apiservercel.Error{Type: apiservercel.ErrorTypeInvalid, Detail: fmt.Sprintf("expression '%v' resulted in error: %v", compiled.ExpressionAccessor.GetExpression(), err)}
		return budget, nil
	}
	result.EvalResult = value
	return budget, nil
}

// Upstream's words.
var errBudget = &apiservercel.Error{
	Type:   apiservercel.ErrorTypeInvalid,
	Detail: "validation failed due to running out of cost budget, no further validation rules will be run",
	Cause:  apiservercel.ErrOutOfBudget,
}

func costUnknown(compiled *cel.CompilationResult) string {
	return fmt.Sprintf("runtime cost could not be calculated for expression: %v, no further expression will be run", compiled.ExpressionAccessor.GetExpression())
}
