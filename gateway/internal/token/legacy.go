package token

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// rootCA is the ConfigMap of each namespace that holds the API's CA under "ca.crt".
const rootCA = "kube-root-ca.crt"

// Fill gives a Secret of the type kubernetes.io/service-account-token, which is about
// to be written, what it lacks: the UID of its account, a token that lives as long as
// the Secret, the namespace, and the API's CA. Upstream's tokens controller does so a
// moment later; here the key never leaves the gateway. A Secret of an account that is
// not there, or not any more, is left as it is. obj is core.Secret; others are left alone.
func (i *Issuer) Fill(ctx context.Context, obj runtime.Object) error {
	s, ok := obj.(*core.Secret)
	if !ok || s.Type != core.SecretTypeServiceAccountToken {
		return nil
	}
	account, err := i.getter.GetServiceAccount(ctx, s.Namespace, s.Annotations[core.ServiceAccountNameKey])
	if err != nil || account.DeletionTimestamp != nil {
		return nil
	}
	uid := s.Annotations[core.ServiceAccountUIDKey]
	if uid != "" && uid != string(account.UID) {
		return nil // of an account that had the name before
	}
	s.Annotations[core.ServiceAccountUIDKey] = string(account.UID)
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	if len(s.Data[core.ServiceAccountTokenKey]) == 0 {
		claims, private := serviceaccount.LegacyClaims(*account, corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}})
		text, err := i.legacy.GenerateToken(ctx, claims, private)
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		s.Data[core.ServiceAccountTokenKey] = []byte(text)
	}
	if len(s.Data[core.ServiceAccountNamespaceKey]) == 0 {
		s.Data[core.ServiceAccountNamespaceKey] = []byte(s.Namespace)
	}
	if ca := i.rootCA(s.Namespace); len(s.Data[core.ServiceAccountRootCAKey]) == 0 && ca != "" {
		s.Data[core.ServiceAccountRootCAKey] = []byte(ca)
	}
	return nil
}

func (i *Issuer) rootCA(namespace string) string {
	gr := proto.GroupResource{Resource: "configmaps"}
	e := i.getter.view(gr).Get(gr, namespace, rootCA)
	if e == nil {
		return ""
	}
	c, err := statelog.Decode[corev1.ConfigMap](e)
	if err != nil {
		return ""
	}
	return c.Data[core.ServiceAccountRootCAKey]
}
