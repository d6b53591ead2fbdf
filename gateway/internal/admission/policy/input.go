package policy

import (
	"fmt"

	"github.com/google/cel-go/interpreter"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/library"
)

// input is what expressions can name, upstream's cel activation: the same values, made when
// an expression first names them, since most name one or two of the eight. It serves one
// goroutine.
type input struct {
	about     *admission.VersionedAttributes
	asked     *admissionv1.AdmissionRequest
	given     cel.OptionalVariableBindings
	inside    *corev1.Namespace
	object    any
	oldObject any
	variables any

	params, request, namespace, authorizer, check lazy
}

// lazy is a value that may not have been asked for.
type lazy struct {
	value any
	made  bool
}

func (l *lazy) get(make func() any) any {
	if !l.made {
		l.value, l.made = make(), true
	}
	return l.value
}

func newInput(composition cel.CompositionContext, about *admission.VersionedAttributes, request *admissionv1.AdmissionRequest, given cel.OptionalVariableBindings, namespace *corev1.Namespace) (*input, error) {
	// As upstream, until it is the default.
	about.VersionedObject.UseSchemalessTypeRef = true
	about.VersionedOldObject.UseSchemalessTypeRef = true
	old, err := about.VersionedOldObject.CELValue()
	if err != nil {
		return nil, fmt.Errorf("failed to prepare oldObject variable for evaluation: %w", err)
	}
	object, err := about.VersionedObject.CELValue()
	if err != nil {
		return nil, fmt.Errorf("failed to prepare object variable for evaluation: %w", err)
	}
	in := &input{about: about, asked: request, given: given, inside: namespace, object: object, oldObject: old}
	if composition != nil {
		in.variables = composition.Variables(in)
	}
	return in, nil
}

var _ interpreter.Activation = (*input)(nil)

// ResolveName is interpreter.Activation.
func (in *input) ResolveName(name string) (any, bool) {
	switch name {
	case cel.ObjectVarName:
		return in.object, true
	case cel.OldObjectVarName:
		return in.oldObject, true
	case cel.ParamsVarName: // may be null
		return in.params.get(func() any {
			if in.given.VersionedParams == nil {
				return nil
			}
			return common.SchemalessTypedToVal(in.given.VersionedParams)
		}), true
	case cel.RequestVarName:
		return in.request.get(func() any { return common.SchemalessTypedToVal(in.asked) }), true
	case cel.NamespaceVarName:
		return in.namespace.get(func() any { return common.SchemalessTypedToVal(in.inside) }), true
	case cel.AuthorizerVarName:
		if in.given.Authorizer == nil {
			return nil, false
		}
		return in.authorizer.get(func() any { return library.NewAuthorizerVal(in.about.GetUserInfo(), in.given.Authorizer) }), true
	case cel.RequestResourceAuthorizerVarName:
		if in.given.Authorizer == nil {
			return nil, false
		}
		return in.check.get(func() any {
			return library.NewResourceAuthorizerVal(in.about.GetUserInfo(), in.given.Authorizer, in.about)
		}), true
	case cel.VariableVarName: // always there
		return in.variables, true
	}
	return nil, false
}

// Parent is interpreter.Activation: there is none.
func (in *input) Parent() interpreter.Activation { return nil }
