package custom

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
)

// Guard is an admission chain that lets nobody create instances of a definition that
// is being deleted.
func Guard(next admission.Interface, c *Controller) admission.Interface { return guard{next, c} }

type guard struct {
	admission.Interface
	c *Controller
}

func (g guard) Handles(o admission.Operation) bool {
	return o == admission.Create || g.Interface.Handles(o)
}

func (g guard) check(a admission.Attributes) error {
	if a.GetOperation() == admission.Create && a.GetSubresource() == "" && g.c.Terminating(a.GetResource().GroupResource()) {
		return apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), errors.New("create not allowed while custom resource definition is terminating"))
	}
	return nil
}

func (g guard) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if err := g.check(a); err != nil {
		return err
	}
	if m, ok := g.Interface.(admission.MutationInterface); ok && m.Handles(a.GetOperation()) {
		return m.Admit(ctx, a, o)
	}
	return nil
}

func (g guard) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if err := g.check(a); err != nil {
		return err
	}
	if v, ok := g.Interface.(admission.ValidationInterface); ok && v.Handles(a.GetOperation()) {
		return v.Validate(ctx, a, o)
	}
	return nil
}
