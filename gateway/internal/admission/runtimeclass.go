package admission

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apiserver/pkg/admission"
	api "k8s.io/kubernetes/pkg/apis/core"
)

// runtimeClass is RuntimeClass where no RuntimeClass can exist: a pod that asks for
// one, or for the overhead of one, is refused instead of run as something else.
type runtimeClass struct{ *admission.Handler }

func newRuntimeClass() runtimeClass { return runtimeClass{admission.NewHandler(admission.Create)} }

func (runtimeClass) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := podOf(a)
	if pod == nil {
		return nil
	}
	if err := withoutRuntimeClass(pod); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

func withoutRuntimeClass(pod *api.Pod) error {
	switch {
	case pod.Spec.RuntimeClassName != nil:
		return fmt.Errorf("pod rejected: RuntimeClass %q not found", *pod.Spec.RuntimeClassName)
	case len(pod.Spec.Overhead) > 0:
		return errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
	}
	return nil
}
