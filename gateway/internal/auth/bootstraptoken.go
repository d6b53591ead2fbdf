package auth

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authenticator/token/bootstrap"
)

// BootstrapTokens knows the tokens of Secrets bootstrap-token-ID of kube-system, with
// which new nodes ask for their first certificate. The check is upstream's; get gives
// a Secret opened.
func BootstrapTokens(get func(namespace, name string) (*corev1.Secret, error)) authenticator.Token {
	return bootstrap.NewTokenAuthenticator(secrets{get: get})
}

// secrets lets upstream get Secrets by name; it lists none.
type secrets struct {
	listers.SecretNamespaceLister
	get func(namespace, name string) (*corev1.Secret, error)
}

func (s secrets) Get(name string) (*corev1.Secret, error) {
	return s.get(metav1.NamespaceSystem, name)
}
