package token

import (
	"context"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// ViewFunc gives the view that holds a resource.
type ViewFunc func(proto.GroupResource) *statelog.View

// getter shows the validator what tokens are bound to. Only names, UIDs and
// deletion times are filled in: the validator asks for no more, and the content of
// Secrets stays sealed.
type getter struct{ view ViewFunc }

func (g getter) meta(resource, ns, name string) (metav1.ObjectMeta, error) {
	gr := proto.GroupResource{Resource: resource}
	e := g.view(gr).Get(gr, ns, name)
	if e == nil {
		return metav1.ObjectMeta{}, apierrors.NewNotFound(schema.GroupResource{Resource: resource}, name)
	}
	m := e.Meta()
	out := metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(m.UID)}
	if m.DeletionTimestamp != "" {
		at, err := time.Parse(time.RFC3339, m.DeletionTimestamp)
		if err != nil {
			at = time.Unix(0, 0) // deleted, at a time nobody can read: long ago
		}
		out.DeletionTimestamp = &metav1.Time{Time: at}
	}
	return out, nil
}

func (g getter) GetServiceAccount(_ context.Context, ns, name string) (*corev1.ServiceAccount, error) {
	m, err := g.meta("serviceaccounts", ns, name)
	return &corev1.ServiceAccount{ObjectMeta: m}, err
}

func (g getter) GetPod(_ context.Context, ns, name string) (*corev1.Pod, error) {
	m, err := g.meta("pods", ns, name)
	return &corev1.Pod{ObjectMeta: m}, err
}

func (g getter) GetSecret(_ context.Context, ns, name string) (*corev1.Secret, error) {
	m, err := g.meta("secrets", ns, name)
	return &corev1.Secret{ObjectMeta: m}, err
}

func (g getter) GetNode(_ context.Context, name string) (*corev1.Node, error) {
	m, err := g.meta("nodes", "", name)
	return &corev1.Node{ObjectMeta: m}, err
}

func (g getter) GetValidatingWebhookConfiguration(_ context.Context, name string) (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	return nil, apierrors.NewNotFound(admissionregistrationv1.Resource("validatingwebhookconfigurations"), name)
}

func (g getter) GetMutatingWebhookConfiguration(_ context.Context, name string) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	return nil, apierrors.NewNotFound(admissionregistrationv1.Resource("mutatingwebhookconfigurations"), name)
}
