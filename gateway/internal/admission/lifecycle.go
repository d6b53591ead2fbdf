package admission

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"kubus.dev/proto"
)

// lifecycle is NamespaceLifecycle: nothing is created in a namespace that is
// missing or going, and the system's namespaces stay.
type lifecycle struct {
	*admission.Handler
	namespaces *lookup[namespacePhase]
}

// namespacePhase is the part of a Namespace that matters here.
type namespacePhase struct {
	Status struct {
		Phase corev1.NamespacePhase `json:"phase"`
	} `json:"status"`
}

func newLifecycle(source Source) lifecycle {
	return lifecycle{admission.NewHandler(admission.Create, admission.Delete),
		newLookup[namespacePhase](source, proto.GroupResource{Resource: "namespaces"})}
}

func immortal(name string) bool {
	return name == metav1.NamespaceDefault || name == metav1.NamespaceSystem || name == metav1.NamespacePublic
}

func (l lifecycle) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	isNamespace := a.GetKind().Group == "" && a.GetKind().Kind == "Namespace"
	switch {
	case a.GetOperation() == admission.Delete:
		if isNamespace && immortal(a.GetName()) {
			return apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), errors.New("this namespace may not be deleted"))
		}
		return nil
	case isNamespace, a.GetNamespace() == "":
		return nil
	case a.GetResource().Group == "authorization.k8s.io" && a.GetResource().Resource == "localsubjectaccessreviews":
		return nil // its answer would tell which namespaces exist
	}
	ns, err := l.namespaces.get("", a.GetNamespace())
	if err == nil && ns == nil {
		ns, err = l.namespaces.latest(ctx, "", a.GetNamespace())
	}
	switch {
	case err != nil:
		return apierrors.NewInternalError(err)
	case ns == nil:
		return apierrors.NewNotFound(corev1.Resource("namespaces"), a.GetNamespace())
	case ns.Status.Phase != corev1.NamespaceTerminating:
		return nil
	}
	err = admission.NewForbidden(a, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", a.GetNamespace()))
	if status := (*apierrors.StatusError)(nil); errors.As(err, &status) {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{
			Type:    corev1.NamespaceTerminatingCause,
			Message: fmt.Sprintf("namespace %s is being terminated", a.GetNamespace()),
			Field:   "metadata.namespace",
		})
	}
	return err
}
