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

// getter shows validators what tokens are bound to: of pods and nodes only names, UIDs
// and deletion times, since nobody asks for more. Secrets are opened.
type getter struct {
	view ViewFunc
	open func(key proto.Key, sealed []byte) ([]byte, error)
}

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
	gr := proto.GroupResource{Resource: "serviceaccounts"}
	e := g.view(gr).Get(gr, ns, name)
	if e == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccounts"}, name)
	}
	return statelog.Decode[corev1.ServiceAccount](e)
}

func (g getter) GetPod(_ context.Context, ns, name string) (*corev1.Pod, error) {
	m, err := g.meta("pods", ns, name)
	return &corev1.Pod{ObjectMeta: m}, err
}

func (g getter) GetSecret(_ context.Context, ns, name string) (*corev1.Secret, error) {
	return g.secret(ns, name)
}

func (g getter) secret(ns, name string) (*corev1.Secret, error) {
	gr := proto.GroupResource{Resource: "secrets"}
	e := g.view(gr).Get(gr, ns, name)
	if e == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
	}
	if g.open != nil {
		data, err := g.open(e.Key(), e.Data())
		if err != nil {
			return nil, err
		}
		e = statelog.NewEntry(e.Key(), e.Revision(), data, e.Deleted())
	}
	return statelog.Decode[corev1.Secret](e)
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
